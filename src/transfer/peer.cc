#include "transfer/peer.h"

#include <algorithm>

namespace fastreg::transfer {

void Peer::on_round_trip(Duration took) {
    took = std::max(took, Duration(1us));
    rtt_ = rtt_.count() == 0 ? took : std::min(rtt_, took);
}

void Peer::on_chunk_arrived(Duration took) {
    samples_[sample_count_++ % kSamples] = took;
    service_ = service_.count() == 0 ? took : service_ + (took - service_) / 4;
}

Duration Peer::p90() const {
    const std::size_t count = std::min(sample_count_, kSamples);
    if (count == 0) return {};
    auto sorted = samples_;
    const auto end = sorted.begin() + static_cast<std::ptrdiff_t>(count);
    std::sort(sorted.begin(), end);
    return sorted[(count * 9 + 9) / 10 - 1];
}

void Peer::on_request(Instant now) {
    if (outstanding_++ != 0) return;
    quiet_since_ = now;
    moved_ = false;
}

void Peer::on_request_ended() {
    if (outstanding_ > 0) --outstanding_;
}

void Peer::on_byte(Instant now) {
    quiet_since_ = now;
    if (probation_) avoid_until_ = {};
    probation_ = false;
    moved_ = false;
}

void Peer::on_pause(Instant now) {
    quiet_since_ = now;
}

Instant Peer::silent_since() const {
    return outstanding_ == 0 ? Instant::never() : quiet_since_;
}

void Peer::put_on_probation(Instant now, Duration until_next_trial) {
    probation_ = true;
    moved_ = true;
    avoid(now + until_next_trial);
}

void Peer::quarantine(Instant now, const Options& options) {
    quarantine_span_ = quarantine_span_.count() == 0
                           ? options.quarantine_first
                           : std::min(quarantine_span_ * 2, options.quarantine_max);
    quarantine_until_ = now + quarantine_span_;
}

void Peer::absolve() {
    quarantine_until_ = {};
    quarantine_span_ /= 2;
    if (quarantine_span_ < 1s) quarantine_span_ = {};
}

bool Peer::usable(Instant now) const {
    if (now < avoid_until_ || now < quarantine_until_) return false;
    return !probation_ || outstanding_ == 0;
}

double Peer::cost(Duration tau) const {
    double slowness = 1;
    if (tau.count() > 0 && service_ > tau) slowness = seconds_of(service_) / seconds_of(tau);
    return static_cast<double>(outstanding_ + 1) * slowness;
}

void Peer::on_link_down() {
    outstanding_ = 0;  // a probation outlives the link: only a byte ends it
}

}  // namespace fastreg::transfer
