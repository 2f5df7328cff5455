#include "store/upload_ops.h"

#include <algorithm>
#include <utility>

namespace fastreg::store {
namespace {

constexpr std::size_t kRehashBytes = 1U << 20U;

}  // namespace

UploadFile::UploadFile(std::string path,
                       std::uint64_t lane,
                       std::shared_ptr<File> file,
                       HashAlg alg)
    : path_(std::move(path)), lane_(lane), file_(std::move(file)), builder_(ChainBuilder(alg)) {}

Status UploadOps::append(FreeSpace& free_space,
                         UploadFile& upload,
                         ByteView data,
                         std::uint64_t min_free) {
    if (upload.failed_) return tl::unexpected<Error>(*upload.failed_);
    const auto attempt = [&]() -> Status {
        if (!upload.builder_) return fail(Errc::invalid_argument, "the upload was hashed already");
        FR_TRY(free_space.take(data.size(), min_free));
        FR_TRY(upload.file_->pwrite(data, upload.hashed_bytes_));
        upload.builder_->update(data);
        upload.hashed_bytes_ += data.size();
        upload.unsynced_bytes_ += data.size();
        if (upload.unsynced_bytes_ < kWritebackBytes) return {};
        upload.unsynced_bytes_ = 0;
        upload.file_->start_writeback();
        return {};
    };
    auto status = attempt();
    if (!status) upload.failed_ = status.error();
    return status;
}

Result<ChainBuilder::Result> UploadOps::hash(UploadFile& upload, const Digest& expected) {
    if (upload.failed_) return tl::unexpected<Error>(*upload.failed_);
    if (!upload.hashed_) {
        upload.hashed_ = upload.builder_->finish();
        upload.builder_.reset();
    }
    if (upload.hashed_->digest.alg != expected.alg) {
        ChainBuilder again(expected.alg);
        Bytes buffer(kRehashBytes);
        while (again.size() < upload.hashed_bytes_) {
            FR_TRY_ASSIGN(const auto got, upload.file_->pread(buffer, again.size()));
            if (got == 0) return fail(Errc::io, "the file of an upload is shorter than what was written");
            again.update(ByteView(buffer).first(got));
        }
        upload.hashed_ = again.finish();
    }
    if (upload.hashed_->digest != expected) {
        return fail(Errc::corrupt, "the bytes hash to " + upload.hashed_->digest.str() + ", not to " +
                                       expected.str());
    }
    return *upload.hashed_;
}

Status UploadOps::usable(const UploadFile& upload) {
    if (upload.closed_ || upload.committing_) {
        return fail(Errc::invalid_argument, "the upload is closed");
    }
    if (upload.refused_) return tl::unexpected<Error>(*upload.refused_);
    return {};
}

}  // namespace fastreg::store
