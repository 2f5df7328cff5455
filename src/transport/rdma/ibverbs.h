// The real verbs: librdmacm and libibverbs, with an owner for every handle. The rdma thread only, but open(),
// which may be called before there is one.
#pragma once

#include <memory>

#include "transport/rdma/verbs.h"

namespace fastreg::transport::rdma {

class IbVerbs final : public Verbs {
  public:
    struct Options {
        std::uint8_t ack_timeout = 14;  // 4.096 us * 2^n
        std::uint8_t tos = 0;           // 0: the system's
    };

    /// All devices of this machine, in the system's order. The error says what is missing: no device, no
    /// module, no right to use it.
    [[nodiscard]] static Result<std::unique_ptr<IbVerbs>> open(Options options);
    ~IbVerbs() override;
    IbVerbs(const IbVerbs&) = delete;
    IbVerbs& operator=(const IbVerbs&) = delete;

    [[nodiscard]] const std::vector<Device>& devices() const override;
    Status register_memory(std::span<std::byte> landing, std::span<std::byte> source, std::size_t slot_size) override;
    [[nodiscard]] std::uint32_t landing_key(DeviceIndex device, const std::byte* place) const override;
    [[nodiscard]] int cm_descriptor() const override;
    [[nodiscard]] int completion_descriptor(DeviceIndex device) const override;
    [[nodiscard]] int async_descriptor(DeviceIndex device) const override;
    [[nodiscard]] std::optional<CmEvent> next_cm_event() override;
    [[nodiscard]] std::vector<ConnId> completed(DeviceIndex device) override;
    void set_on_released(std::function<void(DeviceIndex)> on_released) override;
    void read_async_events(DeviceIndex device) override;
    Result<std::uint16_t> listen(const Endpoint& at) override;
    Result<ConnId> begin_connect(const Endpoint& to) override;
    Status resolve_route(ConnId conn) override;
    Status make_queue(ConnId conn, Role role, QueueSizes sizes) override;
    Status connect(ConnId conn, ByteView private_data) override;
    Status accept(ConnId conn, ByteView private_data) override;
    void reject(ConnId conn, ByteView private_data) override;
    [[nodiscard]] std::size_t poll(ConnId conn, std::span<Completion> out) override;
    [[nodiscard]] ByteView received(ConnId conn, std::uint32_t index, std::uint32_t bytes) const override;
    Status post_receive(ConnId conn, std::uint32_t index) override;
    Status post_message(ConnId conn, ByteView message, std::uint64_t work) override;
    Status post_chunk(ConnId conn, const ChunkWrite& write, ByteView done, std::uint64_t work) override;
    void to_error(ConnId conn) override;
    void disconnect(ConnId conn) override;
    [[nodiscard]] bool destroy_queue(ConnId conn) override;
    void close(ConnId conn) override;

  private:
    struct Impl;
    explicit IbVerbs(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace fastreg::transport::rdma
