// What is cached and what is on the medium: how a change gets from one to the other, or is lost.
#include "tests/support/memory_disk.h"

#include <algorithm>

#include "store/posix_fs.h"

namespace fastreg::test {

namespace {

void apply(Bytes& content,
           const MemoryInode::Write& write,
           std::uint64_t skip,
           std::uint64_t length) {
    if (write.is_resize) {
        content.resize(write.at);
        return;
    }
    const std::uint64_t begin = write.at + skip;
    if (content.size() < begin + length) content.resize(begin + length);
    std::copy_n(write.data.begin() + static_cast<std::ptrdiff_t>(skip), length,
                content.begin() + static_cast<std::ptrdiff_t>(begin));
}

}  // namespace

MemoryInode::~MemoryInode() {
    if (used_pages) *used_pages -= pages.size();
}

void MemoryInode::write(ByteView data, std::uint64_t offset) {
    if (data.empty()) return;
    pending.push_back({false, offset, Bytes(data.begin(), data.end())});
    apply(cached, pending.back(), 0, data.size());
}

void MemoryInode::resize(std::uint64_t size) {
    cached.resize(size);
    const auto first_gone =
        pages.lower_bound((size + MemoryDisk::kPage - 1) / MemoryDisk::kPage);
    *used_pages -= static_cast<std::uint64_t>(std::distance(first_gone, pages.end()));
    pages.erase(first_gone, pages.end());
    pending.push_back({true, size, {}});
}

void MemoryInode::sync() {
    for (const auto& write : pending) apply(durable, write, 0, write.data.size());
    pending.clear();
}

void MemoryInode::recount() {
    *used_pages -= pages.size();
    pages.clear();
    for (std::uint64_t page = 0; page * MemoryDisk::kPage < cached.size(); ++page) {
        pages.insert(page);
    }
    *used_pages += pages.size();
}

void NameChange::make_durable() const {
    if (from_dir) {
        const auto it = from_dir->durable_names.find(from);
        if (it != from_dir->durable_names.end() && it->second == inode) {
            from_dir->durable_names.erase(it);
        }
    }
    if (to_dir) to_dir->durable_names[to] = inode;
}

InodePtr MemoryDisk::make_directory() {
    auto inode = std::make_shared<MemoryInode>();
    inode->is_directory = true;
    return inode;
}

InodePtr MemoryDisk::make_file() const {
    auto inode = std::make_shared<MemoryInode>();
    inode->used_pages = used_pages;
    return inode;
}

InodePtr MemoryDisk::find(const std::string& path) const {
    InodePtr at = root;
    for (std::size_t begin = 0; begin < path.size();) {
        const auto end = std::min(path.find('/', begin), path.size());
        if (end > begin) {
            if (!at->is_directory) return nullptr;
            const auto it = at->cached_names.find(path.substr(begin, end - begin));
            if (it == at->cached_names.end()) return nullptr;
            at = it->second;
        }
        begin = end + 1;
    }
    return at;
}

void MemoryDisk::change(NameChange change) {
    if (change.from_dir) change.from_dir->cached_names.erase(change.from);
    if (change.to_dir) change.to_dir->cached_names[change.to] = change.inode;
    pending_names.push_back(std::move(change));
}

void MemoryDisk::sync_names(const InodePtr& directory) {
    std::erase_if(pending_names, [&](const NameChange& change) {
        if (change.from_dir != directory && change.to_dir != directory) return false;
        change.make_durable();
        return true;
    });
}

std::uint64_t MemoryDisk::allocate(MemoryInode& file, std::uint64_t offset, std::uint64_t length) {
    std::uint64_t fits = 0;
    while (fits < length) {
        const auto page = (offset + fits) / kPage;
        if (!file.pages.contains(page)) {
            if (*used_pages >= capacity / kPage) break;
            file.pages.insert(page);
            ++*used_pages;
        }
        fits = std::min(length, (page + 1) * kPage - offset);
    }
    return fits;
}

void MemoryDisk::cut(const std::function<bool()>& keep_name, const KeepWrite& keep_write) {
    for (const auto& name : pending_names) {
        if (keep_name()) name.make_durable();
    }
    pending_names.clear();
    settle(*root, keep_write);
    ++generation;
    locks.clear();
    faults.clear();
}

void MemoryDisk::settle(MemoryInode& inode, const KeepWrite& keep_write) {
    if (inode.is_directory) {
        inode.cached_names = inode.durable_names;
        for (auto& [name, child] : inode.cached_names) settle(*child, keep_write);
        return;
    }
    for (const auto& write : inode.pending) {
        if (write.is_resize) {
            if (keep_write(1).second > 0) apply(inode.durable, write, 0, 0);
            continue;
        }
        const auto [skip, length] = keep_write(write.data.size());
        if (length > 0) apply(inode.durable, write, skip, length);
    }
    inode.pending.clear();
    inode.cached = inode.durable;
    inode.recount();
}

std::pair<std::string, std::string> split_path(const std::string& path) {
    const auto slash = path.rfind('/');
    if (slash == std::string::npos) return {"", path};
    return {path.substr(0, slash), path.substr(slash + 1)};
}

tl::unexpected<Error> os_fail(int code, const std::string& doing, const std::string& path) {
    return fail(store::errc_of_errno(code), "cannot " + doing + " " + path, code);
}

}  // namespace fastreg::test
