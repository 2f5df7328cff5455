// Requests as real clients send them: skopeo, podman, docker, containerd, curl.
#pragma once

#include <string>
#include <vector>

namespace fastreg::http {

struct Recorded {
    std::string what;
    std::string bytes;
    std::size_t requests;
};

inline std::vector<Recorded> recorded_requests() {
    const std::string digest =
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const std::string id(96, 'a');
    return {
        {"containerd resolves a tag through a mirror",
         "HEAD /v2/library/tiny/manifests/v1?ns=docker.io HTTP/1.1\r\nHost: 127.0.0.1:5998\r\n"
         "User-Agent: containerd/1.6.20~ds1\r\nAccept: "
         "application/vnd.docker.distribution.manifest.v2+json, "
         "application/vnd.docker.distribution.manifest.list.v2+json, "
         "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, "
         "*/*\r\n\r\n",
         1},
        {"containerd reads two blobs on one connection, resuming the second",
         "GET /v2/library/tiny/blobs/" + digest +
             "?ns=docker.io HTTP/1.1\r\nHost: 127.0.0.1:5998\r\nUser-Agent: containerd/1.6.20\r\n"
             "Accept: application/vnd.oci.image.layer.v1.tar+gzip, */*\r\nAccept-Encoding: "
             "gzip\r\n\r\nGET /v2/library/tiny/blobs/" +
             digest +
             "?ns=docker.io HTTP/1.1\r\nHost: 127.0.0.1:5998\r\nRange: bytes=7340032-\r\n\r\n",
         2},
        {"containerd mounts, then uploads in one PUT",
         "POST /v2/lab/app/blobs/uploads/?mount=" + digest +
             "&from=lab/base HTTP/1.1\r\nHost: r\r\nContent-Length: 0\r\n\r\n"
             "PUT /v2/lab/app/blobs/uploads/" +
             id + "?digest=" +
             "sha256%3Ae3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b78"
             "52b855 HTTP/1.1\r\nHost: r\r\nContent-Type: "
             "application/octet-stream\r\nContent-Length: 11\r\n\r\nhello world",
         2},
        {"dockerd pings and closes",
         "GET /v2/ HTTP/1.1\r\nHost: 127.0.0.1:5998\r\nUser-Agent: docker/20.10.24+dfsg1 "
         "go/go1.19.8 UpstreamClient(Docker-Client/20.10.24 \\(linux\\))\r\nAccept-Encoding: "
         "gzip\r\nConnection: close\r\n\r\n",
         1},
        {"dockerd asks with six Accept fields",
         "HEAD /v2/library/tiny/manifests/v1 HTTP/1.1\r\nHost: 127.0.0.1:5998\r\nAccept: "
         "application/vnd.docker.distribution.manifest.v1+prettyjws\r\nAccept: "
         "application/json\r\nAccept: application/vnd.oci.image.manifest.v1+json\r\nAccept: "
         "application/vnd.docker.distribution.manifest.v2+json\r\nAccept: "
         "application/vnd.docker.distribution.manifest.list.v2+json\r\nAccept: "
         "application/vnd.oci.image.index.v1+json\r\nConnection: close\r\n\r\n",
         1},
        {"dockerd streams a layer: POST, chunked PATCH, empty PUT",
         "POST /v2/lab/app/blobs/uploads/?from=lab%2Fbase&mount=sha256%3Ae3b0 HTTP/1.1\r\nHost: "
         "r\r\nContent-Length: 0\r\n\r\nPATCH /v2/lab/app/blobs/uploads/" +
             id +
             " HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\nAccept-Encoding: gzip\r\n\r\n"
             "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nPUT /v2/lab/app/blobs/uploads/" +
             id + "?digest=" + digest + " HTTP/1.1\r\nHost: r\r\nContent-Length: 0\r\n\r\n",
         3},
        {"skopeo pushes a blob of known size",
         "PATCH /v2/lab/app/blobs/uploads/" + id +
             " HTTP/1.1\r\nHost: 127.0.0.1:5999\r\nUser-Agent: skopeo/1.9.3\r\nContent-Length: "
             "5\r\nContent-Type: application/octet-stream\r\nDocker-Distribution-Api-Version: "
             "registry/2.0\r\nConnection: close\r\n\r\nbytes",
         1},
        {"podman asks a mirror with the registry in the path",
         "GET /v2/ghcr.io/library/tiny/manifests/v1 HTTP/1.1\r\nHost: 127.0.0.1:5998\r\n"
         "User-Agent: containers/5.23.1 (github.com/containers/image)\r\nAccept: "
         "application/vnd.oci.image.manifest.v1+json\r\nAccept: "
         "application/vnd.oci.image.index.v1+json\r\nDocker-Distribution-Api-Version: "
         "registry/2.0\r\nConnection: close\r\n\r\n",
         1},
        {"podman reads parts of a zstd:chunked layer",
         "GET /v2/lab/app/blobs/" + digest +
             " HTTP/1.1\r\nHost: r\r\nRange: bytes=0-99,200-299,1000-1999\r\nConnection: "
             "close\r\n\r\n",
         1},
        {"curl -T waits for 100 Continue",
         "PUT /v2/a/blobs/uploads/" + id + "?digest=" + digest +
             " HTTP/1.1\r\nHost: r\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\nContent-Length: "
             "3\r\nExpect: 100-continue\r\n\r\nabc",
         1},
        {"the conformance suite puts a manifest chunked, with a trailer",
         "PUT /v2/conformance/repo/manifests/tag HTTP/1.1\r\nHost: r\r\nContent-Type: "
         "application/vnd.oci.image.manifest.v1+json\r\nTransfer-Encoding: chunked\r\n\r\n"
         "2;ext=1\r\n{}\r\n0\r\nX-Trailer: yes\r\n\r\n",
         1},
        {"an old proxy speaks HTTP/1.0", "GET /v2/ HTTP/1.0\r\n\r\n", 1},
        {"an absolute target, from a client that takes us for a proxy",
         "GET http://registry.local:5000/v2/_catalog?n=5 HTTP/1.1\r\nHost: "
         "registry.local:5000\r\n\r\n",
         1},
    };
}

}  // namespace fastreg::http
