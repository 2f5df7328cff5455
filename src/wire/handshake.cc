#include "wire/handshake.h"

#include <algorithm>

namespace fastreg::wire {

namespace {

constexpr std::string_view kSpace = " \t\r\n\v\f";
constexpr std::string_view kKeyAdvice =
    "copy the key of this mesh to it (fastreg key show on a member)";

Errc errc_of(CloseCode code) {
    switch (code) {
        case CloseCode::version: return Errc::unsupported;
        case CloseCode::cluster:
        case CloseCode::wrong_key:
        case CloseCode::key_needed:
        case CloseCode::key_foreign: return Errc::permission_denied;
        case CloseCode::itself: return Errc::already_exists;
        case CloseCode::busy: return Errc::busy;
        case CloseCode::going_away: return Errc::unavailable;
        case CloseCode::timeout: return Errc::timeout;
        case CloseCode::protocol: return Errc::protocol;
    }
    return Errc::protocol;
}

std::string version_sentence(const VersionRange& theirs, const VersionRange& ours) {
    return "speaks protocol version " + theirs.str() + ", this node " + ours.str() +
           ": upgrade the older of the two";
}

/// What a Close of the peer means, seen from here.
std::string sentence_of(const Close& close, const VersionRange& ours) {
    switch (close.code) {
        case CloseCode::version: return version_sentence(close.versions, ours);
        case CloseCode::cluster:
            return "is of another cluster: set the same cluster name on both, or take it off the seeds";
        case CloseCode::itself: return "has this node's own id";
        case CloseCode::wrong_key:
            return "has another cluster key: copy the key of its mesh to this node "
                   "(fastreg key show on a member)";
        case CloseCode::key_needed:
            return "wants a cluster key and this node has none: copy the key of its mesh to this node "
                   "(fastreg key show on a member)";
        case CloseCode::key_foreign:
            return "runs without a cluster key (insecure) and this node has one: " +
                   std::string(kKeyAdvice);
        case CloseCode::busy: return "has too many links open: try again later";
        case CloseCode::going_away: return "is going away";
        case CloseCode::timeout: return "waited too long for this node";
        case CloseCode::protocol: break;
    }
    return "closed the link in the handshake: " + close.text;
}

}  // namespace

Mac link_key(std::string_view key_file) {
    const auto first = std::min(key_file.find_first_not_of(kSpace), key_file.size());
    key_file.remove_prefix(first);
    key_file = key_file.substr(0, key_file.find_last_not_of(kSpace) + 1);
    return hkdf_sha256(as_bytes(key_file), "fastreg mesh 1", "link");
}

Handshake::Handshake(Role role, Hello mine, std::optional<Mac> key, std::string remote)
    : role_(role), mine_(std::move(mine)), key_(key), remote_(std::move(remote)) {
    mine_.keyed = key_.has_value();
}

Handshake::Frames Handshake::start() {
    FR_ASSERT(step_ == Step::start);
    step_ = Step::hello;
    if (role_ == Role::responder) return {};
    return {say_hello()};
}

Result<Handshake::Frames> Handshake::on_frame(const Frame& frame) {
    FR_ASSERT(step_ != Step::start && step_ != Step::done);
    const auto type = static_cast<FrameType>(frame.type);
    if (step_ == Step::failed) return fail(Errc::protocol, "handshake has failed already");
    if (frame.body.size() > kHelloBodyMax) {
        return refuse(CloseCode::protocol, "sent an oversized frame in the handshake");
    }
    if (type == FrameType::close) return on_close(frame);
    if (type == FrameType::hello && step_ == Step::hello) return on_hello(frame);
    if (type == FrameType::proof && step_ == Step::proof) return on_proof(frame);
    return refuse(CloseCode::protocol,
                  "sent a frame of type " + std::to_string(frame.type) + " out of turn in the handshake");
}

Result<Handshake::Frames> Handshake::on_hello(const Frame& frame) {
    FR_TRY(judge(frame));
    peer_hello_ = encode_frame(frame);
    Frames answer;
    if (role_ == Role::responder) {
        mine_.purpose = peer_.purpose;
        answer.push_back(say_hello());
    } else if (key_) {
        answer.push_back(encode_proof({proof_of(Role::initiator)}));
    }
    step_ = key_ ? Step::proof : Step::done;
    return answer;
}

Status Handshake::judge(const Frame& frame) {
    const auto versions = decode_versions(frame.body);
    if (!versions) return refuse(CloseCode::protocol, "does not speak FastReg");
    version_ = std::min(versions->high, mine_.versions.high);
    if (version_ < std::max(versions->low, mine_.versions.low)) {
        return refuse(CloseCode::version, version_sentence(*versions, mine_.versions));
    }
    auto hello = decode_hello(frame.body);
    if (!hello) return refuse(CloseCode::protocol, "sent a broken Hello: " + hello.error().what);
    peer_ = *std::move(hello);
    if (peer_.cluster_hash != mine_.cluster_hash) {
        return refuse(CloseCode::cluster, "is of another cluster: set the same cluster name on both, "
                                          "or take it off the seeds");
    }
    if (peer_.node_id == mine_.node_id) {
        return refuse(CloseCode::itself, "has this node's own id: it is this node itself, "
                                         "or its data directory is a copy of this one's");
    }
    if (peer_.keyed && !key_) {
        return refuse(CloseCode::key_foreign,
                      "wants a cluster key and this node has none (insecure): copy the key of its "
                      "mesh to this node (fastreg key show on a member)");
    }
    if (!peer_.keyed && key_) {
        return refuse(CloseCode::key_needed, "has no cluster key: " + std::string(kKeyAdvice));
    }
    if (peer_.nonce == mine_.nonce) {
        return refuse(CloseCode::protocol, "sends this node's own nonce back");
    }
    if (role_ == Role::initiator && peer_.purpose != mine_.purpose) {
        return refuse(CloseCode::protocol, "answers to another purpose than " +
                                               std::string(name_of(mine_.purpose)));
    }
    return {};
}

Result<Handshake::Frames> Handshake::on_proof(const Frame& frame) {
    const auto proof = decode_proof(frame.body);
    if (!proof) return refuse(CloseCode::protocol, "sent a broken Proof: " + proof.error().what);
    const Role prover = role_ == Role::initiator ? Role::responder : Role::initiator;
    if (!equal_constant_time(proof->mac, proof_of(prover))) {
        return refuse(CloseCode::wrong_key, "proves another cluster key: " + std::string(kKeyAdvice));
    }
    step_ = Step::done;
    if (role_ == Role::initiator) return Frames{};
    return Frames{encode_proof({proof_of(Role::responder)})};
}

Mac Handshake::proof_of(Role prover) const {
    const bool initiator = role_ == Role::initiator;
    const std::string_view label = prover == Role::initiator ? "initiator" : "responder";
    const Bytes& first = initiator ? my_hello_ : peer_hello_;
    const Bytes& second = initiator ? peer_hello_ : my_hello_;
    const ByteView label_bytes = as_bytes(label);
    Bytes said(label_bytes.begin(), label_bytes.end());
    said.insert(said.end(), first.begin(), first.end());
    said.insert(said.end(), second.begin(), second.end());
    return hmac_sha256(*key_, said);
}

Frame Handshake::say_hello() {
    Frame frame = encode_hello(mine_);
    my_hello_ = encode_frame(frame);
    return frame;
}

tl::unexpected<Error> Handshake::on_close(const Frame& frame) {
    step_ = Step::failed;
    const auto close = decode_close(frame.body);
    failure_ = close ? close->code : CloseCode::protocol;
    return fail(errc_of(*failure_),
                "peer " + remote_ + " " +
                    (close ? sentence_of(*close, mine_.versions) : "closed the link in the handshake"));
}

tl::unexpected<Error> Handshake::refuse(CloseCode code, std::string what) {
    step_ = Step::failed;
    failure_ = code;
    farewell_ = encode_close({code, what, mine_.versions});
    return fail(errc_of(code), "peer " + remote_ + " " + what);
}

}  // namespace fastreg::wire
