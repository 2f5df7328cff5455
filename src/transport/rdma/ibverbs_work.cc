// Work on a queue pair: what is posted, and how it ends.
#include <algorithm>
#include <array>
#include <cstring>

#include "transport/rdma/ibverbs_impl.h"

namespace fastreg::transport::rdma {
namespace {

constexpr std::size_t kSegmentsMax = 4U << 20U >> 16U;  // a chunk in the smallest segments

/// The send of a message, behind whatever stands before it in the list.
void fill_message(Conn& conn, ByteView message, std::uint64_t work, ibv_sge& sge, ibv_send_wr& wr) {
    const auto place = conn.buffers->at(conn.sizes.receives + conn.sent++ % conn.sizes.sends);
    std::memcpy(place.data(), message.data(), message.size());
    sge = {reinterpret_cast<std::uint64_t>(place.data()), static_cast<std::uint32_t>(message.size()),
           conn.buffers_mr->lkey};
    wr.wr_id = work;
    wr.sg_list = &sge;
    wr.num_sge = 1;
    wr.opcode = IBV_WR_SEND;
    wr.send_flags = IBV_SEND_SIGNALED;
    if (message.size() <= conn.inline_max) wr.send_flags |= IBV_SEND_INLINE;
}

Status post_list(Conn& conn, ibv_send_wr& first) {
    ibv_send_wr* bad = nullptr;
    if ((errno = ibv_post_send(conn.cm->qp, &first, &bad)) != 0) return verbs_failed("posting an RDMA send");
    return {};
}

}  // namespace

std::size_t IbVerbs::poll(ConnId id, std::span<Completion> out) {
    Conn* conn = impl_->find(id);
    if (conn == nullptr || !conn->cq) return 0;
    std::array<ibv_wc, 32> done;
    const int count = ibv_poll_cq(conn->cq.get(), static_cast<int>(std::min(done.size(), out.size())), done.data());
    if (count <= 0) return 0;
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
        const ibv_wc& wc = done[i];
        out[i] = {wc.wr_id, wc.status == IBV_WC_SUCCESS, wc.status == IBV_WC_WR_FLUSH_ERR,
                  wc.status == IBV_WC_SUCCESS ? wc.byte_len : 0, ibv_wc_status_str(wc.status)};
    }
    return static_cast<std::size_t>(count);
}

ByteView IbVerbs::received(ConnId id, std::uint32_t index, std::uint32_t bytes) const {
    const Conn& conn = impl_->at(id);
    return conn.buffers->at(index).first(std::min<std::size_t>(bytes, wire::kRdmaMessageMax));
}

Status IbVerbs::post_receive(ConnId id, std::uint32_t index) {
    Conn& conn = impl_->at(id);
    const auto place = conn.buffers->at(index);
    ibv_sge sge{reinterpret_cast<std::uint64_t>(place.data()), static_cast<std::uint32_t>(place.size()),
                conn.buffers_mr->lkey};
    ibv_recv_wr wr{};
    wr.wr_id = kReceive | index;
    wr.sg_list = &sge;
    wr.num_sge = 1;
    ibv_recv_wr* bad = nullptr;
    if ((errno = ibv_post_recv(conn.cm->qp, &wr, &bad)) != 0) return verbs_failed("posting an RDMA receive");
    return {};
}

Status IbVerbs::post_message(ConnId id, ByteView message, std::uint64_t work) {
    Conn& conn = impl_->at(id);
    ibv_sge sge{};
    ibv_send_wr wr{};
    fill_message(conn, message, work, sge, wr);
    return post_list(conn, wr);
}

Status IbVerbs::post_chunk(ConnId id, const ChunkWrite& write, ByteView done, std::uint64_t work) {
    Conn& conn = impl_->at(id);
    std::array<ibv_send_wr, kSegmentsMax + 1> wrs{};
    std::array<ibv_sge, kSegmentsMax + 1> sges{};
    const std::byte* source = impl_->source_begin + write.source_slot * impl_->slot_size;
    std::size_t count = 0;
    for (std::uint64_t at = 0; at < write.bytes; at += write.segment, ++count) {
        FR_ASSERT(count < kSegmentsMax);
        sges[count] = {reinterpret_cast<std::uint64_t>(source + at),
                       static_cast<std::uint32_t>(std::min(write.segment, write.bytes - at)),
                       impl_->handles[conn.device].source.at(source).lkey};
        ibv_send_wr& wr = wrs[count];
        wr.wr_id = work | kSegment;
        wr.sg_list = &sges[count];
        wr.num_sge = 1;
        wr.opcode = IBV_WR_RDMA_WRITE;
        wr.send_flags = write.signal_writes ? IBV_SEND_SIGNALED : 0;
        wr.wr.rdma.remote_addr = write.address + at;
        wr.wr.rdma.rkey = write.key;
        wr.next = &wrs[count + 1];
    }
    fill_message(conn, done, work, sges[count], wrs[count]);
    return post_list(conn, wrs[0]);
}

}  // namespace fastreg::transport::rdma
