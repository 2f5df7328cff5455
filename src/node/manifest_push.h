// The push of one manifest, step by step: what it names is in the repository; its bytes are durable here;
// enough nodes keep copies of the image; the rows are written; the client is told. Loop thread only.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "node/service.h"
#include "registry/manifest.h"

namespace fastreg::node {

class ManifestPush : public std::enable_shared_from_this<ManifestPush> {
  public:
    /// `body` as it came, not yet parsed. `copy_patience`: how long the copies may take before the client is
    /// asked to push again.
    static void start(Core& core, Duration copy_patience, registry::PutManifest ask, Asker asker, Bytes body,
                      OnAnswer answer);

  private:
    ManifestPush(Core& core, Duration copy_patience, registry::PutManifest ask, Asker asker, OnAnswer answer)
        : core_(core),
          copy_patience_(copy_patience),
          ask_(std::move(ask)),
          asker_(std::move(asker)),
          answer_(std::move(answer)) {}

    void check_parts();
    void on_part_checked(std::optional<registry::Answer> refused);
    void keep();
    void copy();
    void on_copied(const Copies& copies);
    void write_rows();
    void write_tags();
    void write(std::vector<repo::Change> changes, std::function<void()> then);
    void tell_created();

    Core& core_;
    Duration copy_patience_;
    registry::PutManifest ask_;
    Asker asker_;
    OnAnswer answer_;
    registry::Manifest manifest_;
    Bytes body_;  // until it is kept
    Digest digest_;
    std::uint64_t size_ = 0;

    std::size_t open_ = 0;                     // parts, then copies, that are not through
    std::optional<registry::Answer> refused_;  // the first part that is wrong
    std::size_t copies_min_ = SIZE_MAX;        // of the blob with the fewest
    std::vector<std::string> missing_;         // nodes that did not answer, each once
};

}  // namespace fastreg::node
