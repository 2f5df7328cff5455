"""The registry as a client meets it, on one node and across a mesh."""
import json
import os
import socket
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import MANIFEST, Mesh, check, digest_of, equal, run_cases, until  # noqa: E402


def test_push_here_pull_there():
    """The main job: what goes in at one node comes out at any other, byte for byte."""
    with Mesh(3) as mesh:
        layers = [os.urandom(3_000_000), os.urandom(200_000), b"", os.urandom(1)]
        digest, text = mesh[1].push_manifest("team/app", "v1", layers)
        for node in mesh.nodes:
            for reference in ("v1", digest):
                answer = node.get(f"/v2/team/app/manifests/{reference}")
                equal(answer.status, 200, f"manifest on node {node.number}")
                equal(answer.body, text, "manifest bytes")
                equal(answer.header("Content-Type"), MANIFEST, "content type")
                equal(answer.header("Docker-Content-Digest"), digest, "digest header")
            for layer in layers:
                answer = node.get(f"/v2/team/app/blobs/{digest_of(layer)}")
                equal(answer.status, 200, "blob")
                equal(answer.body, layer, "blob bytes")


def test_listing_is_the_same_on_every_node():
    """A tag, a listing and a mount have one answer on every node at once."""
    with Mesh(3) as mesh:
        for tag in ("b", "a", "c", "Z9"):
            mesh[1].push_manifest("lib/x", tag, [tag.encode() * 100])
        for node in mesh.nodes:
            equal(node.get("/v2/lib/x/tags/list").json(),
                  {"name": "lib/x", "tags": ["Z9", "a", "b", "c"]}, f"tags on node {node.number}")
            page = node.get("/v2/lib/x/tags/list?n=2&last=a")
            equal(page.json()["tags"], ["b", "c"], "page")
            page = node.get("/v2/lib/x/tags/list?n=2")
            check('rel="next"' in (page.header("Link") or ""), "a full page has a Link to the next")
        for query, status in (("?n=0", 200), ("?last=z", 200)):
            answer = mesh[2].get(f"/v2/lib/x/tags/list{query}")
            equal((answer.status, answer.json()["tags"]), (status, []), f"an empty page, {query}")
        for query in ("", "?n=0", "?last=a"):
            answer = mesh[2].get(f"/v2/no/such/tags/list{query}")
            equal((answer.status, answer.code()), (404, "NAME_UNKNOWN"), f"no repository, {query}")
        blob = mesh[1].push_blob("lib/x", b"to be mounted")
        mounted = mesh[2].request("POST", f"/v2/other/y/blobs/uploads/?mount={blob}&from=lib/x")
        equal(mounted.status, 201, "mount on another node")
        equal(mesh[3].get(f"/v2/other/y/blobs/{blob}").body, b"to be mounted", "mounted blob")
        refused = mesh[2].request("POST", f"/v2/other/z/blobs/uploads/?mount={blob}&from=not/there")
        equal(refused.status, 202, "mount from a repository without the blob is an upload")
        equal(mesh[3].get(f"/v2/not/linked/blobs/{blob}").status, 404, "a known digest is no grant")


def test_every_way_to_upload():
    """Clients differ: single POST, monolithic PUT, chunks, a stream without a length."""
    with Mesh(1) as mesh:
        node = mesh[1]
        data = os.urandom(700_000)
        digest = digest_of(data)
        single = node.request("POST", f"/v2/a/one/blobs/uploads/?digest={digest}", data)
        equal(single.status, 201, "single POST")
        equal(node.get(f"/v2/a/one/blobs/{digest}").body, data, "single POST")

        place = node.request("POST", "/v2/a/two/blobs/uploads/").header("Location")
        first = node.request("PATCH", place, data[:300_000], {"Content-Range": "0-299999"})
        equal(first.status, 202, "first chunk")
        equal(first.header("Range"), "0-299999", "range so far")
        place = first.header("Location")
        gap = node.request("PATCH", place, data[400_000:], {"Content-Range": "400000-699999"})
        equal(gap.status, 416, "a gap is refused")
        asked = node.get(place)
        equal((asked.status, asked.header("Range")), (204, "0-299999"), "status of the upload")
        second = node.request("PATCH", place, data[300_000:], {"Content-Range": "300000-699999"})
        equal(second.status, 202, "second chunk")
        place = second.header("Location")
        done = node.request("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", b"")
        equal(done.status, 201, "end of chunks")
        equal(node.get(f"/v2/a/two/blobs/{digest}").body, data, "chunked upload")

        place = node.request("POST", "/v2/a/three/blobs/uploads/").header("Location")
        pieces = (data[i:i + 99_999] for i in range(0, len(data), 99_999))
        stream = node.request("PATCH", place, pieces, {"Transfer-Encoding": "chunked"}, chunked=True)
        equal(stream.status, 202, "stream without a length")
        place = stream.header("Location")
        done = node.request("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", b"")
        equal(done.status, 201, "end of stream")

        wide = digest_of(data, "sha512")
        node.push_blob("a/four", data, "sha512")
        equal(node.get(f"/v2/a/four/blobs/{wide}").body, data, "sha512")


def test_ranges():
    """Clients resume broken downloads by Range; an absurd one must not break the connection."""
    with Mesh(2) as mesh:
        data = os.urandom(1_000_000)
        digest = mesh[1].push_blob("r/r", data)
        for node in mesh.nodes:
            url = f"/v2/r/r/blobs/{digest}"
            for text, begin, end in (("500-1499", 500, 1500), ("999000-", 999000, 1000000),
                                     ("-500", 999500, 1000000), ("999999-2000000", 999999, 1000000)):
                answer = node.get(url, Range=f"bytes={text}")
                equal(answer.status, 206, f"range {text} on node {node.number}")
                equal(answer.body, data[begin:end], f"bytes of range {text}")
                equal(answer.header("Content-Range"), f"bytes {begin}-{end - 1}/1000000", "Content-Range")
            for text in ("1000000-", "5000000-6000000"):
                answer = node.get(url, Range=f"bytes={text}")
                equal(answer.status, 416, f"range {text}")
                equal(answer.header("Content-Range"), "bytes */1000000", "416 names the size")
            equal(node.get(url, Range="bytes=abc").body, data, "a range that makes no sense is ignored")
            tag = f'"{digest}"'
            answer = node.get(url, Range="bytes=0-9", If_Range=tag)
            equal((answer.status, answer.body), (206, data[:10]), "If-Range that matches")
            for stale in ('"sha256:other"', f"W/{tag}", "Wed, 21 Oct 2015 07:28:00 GMT"):
                answer = node.get(url, Range="bytes=0-9", If_Range=stale)
                equal((answer.status, answer.body), (200, data), f"If-Range: {stale}")
            head = node.request("HEAD", url, headers={"Range": "bytes=0-9"})
            equal((head.status, head.header("Content-Length")), (200, "1000000"), "HEAD knows no Range")
            head = node.head(url)
            equal((head.status, head.header("Content-Length"), head.body), (200, "1000000", b""), "HEAD")


def test_keep_alive_pipelining_and_expect():
    """One connection carries many requests, some sent before the answer; curl asks before it sends."""
    with Mesh(1) as mesh:
        with mesh[1].connect() as s:
            s.sendall(b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n" * 3 +
                      b"GET /v2/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            data = b""
            while piece := s.recv(65536):
                data += piece
            equal(data.count(b"HTTP/1.1 200"), 4, "answers to pipelined requests")
        place = mesh[1].request("POST", "/v2/e/e/blobs/uploads/").header("Location")
        with mesh[1].connect() as s:
            s.sendall(f"PATCH {place} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
                      "Expect: 100-continue\r\nConnection: close\r\n\r\n".encode())
            equal(s.recv(12), b"HTTP/1.1 100", "the node asks for the body")
            s.sendall(b"hello")
            data = b""
            while piece := s.recv(65536):
                data += piece
            check(b"HTTP/1.1 202" in data, f"then takes it: {data[:200]}")


def test_manifests_come_back_exactly():
    """A digest is over bytes: not a space may change, whatever the fields and the content type."""
    with Mesh(2) as mesh:
        config = mesh[1].push_blob("m/m", b"{}")
        text = ('{ "schemaVersion":2,\n\t"unknown" : {"x": [1,2]}, "mediaType": "%s",'
                '"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"%s","size":2},'
                '"layers":[ ] }  ' % (MANIFEST, config)).encode()
        put = mesh[1].request("PUT", "/v2/m/m/manifests/odd", text, {"Content-Type": MANIFEST})
        equal(put.status, 201, put.body)
        equal(mesh[2].get("/v2/m/m/manifests/odd").body, text, "odd bytes")
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
                 "manifests": [{"mediaType": MANIFEST, "digest": digest_of(text), "size": len(text)}]}
        body = json.dumps(index).encode()
        put = mesh[2].request("PUT", "/v2/m/m/manifests/multi", body, {"Content-Type": index["mediaType"]})
        equal(put.status, 201, put.body)
        answer = mesh[1].get("/v2/m/m/manifests/multi")
        equal((answer.body, answer.header("Content-Type")), (body, index["mediaType"]), "index")
        missing = json.dumps({**index, "manifests": [{"mediaType": MANIFEST, "size": 3,
                                                     "digest": digest_of(b"abc")}]}).encode()
        put = mesh[1].request("PUT", "/v2/m/m/manifests/bad", missing, {"Content-Type": index["mediaType"]})
        equal((put.status, put.code()), (404, "MANIFEST_BLOB_UNKNOWN"), "index of a manifest nobody has")


def test_a_tag_that_moves_is_never_missing():
    """Who reads a tag while it is pushed again gets one manifest or the other, on every node."""
    with Mesh(3) as mesh:
        mesh[1].push_manifest("team/app", "v", [b"first" * 200])
        over, bad, read = threading.Event(), [], []

        def reader(node):
            while not over.is_set():
                answer = node.get("/v2/team/app/manifests/v")
                read.append(answer.status)
                if answer.status != 200:
                    bad.append((node.number, answer.status, answer.body[:80]))

        readers = [threading.Thread(target=reader, args=(node,)) for node in mesh.nodes]
        for thread in readers:
            thread.start()
        try:
            for i in range(60):
                mesh[1].push_manifest("team/app", "v", [b"%d" % i * 200])
        finally:
            over.set()
            for thread in readers:
                thread.join()
        check(len(read) > 60, f"only {len(read)} reads")
        equal(bad, [], "answers other than 200")


def test_a_tag_named_twice_is_one_tag():
    """The reference of a push and its ?tag= parameters may say the same tag again."""
    with Mesh(1) as mesh:
        mesh[1].push_manifest("team/app", "v1", [b"layer"])
        body = mesh[1].get("/v2/team/app/manifests/v1")
        again = mesh[1].request("PUT", "/v2/team/app/manifests/v1?tag=v1&tag=v2&tag=v2", body.body,
                                {"Content-Type": body.header("Content-Type")})
        equal(again.status, 201, again.body[:200])
        equal(mesh[1].get("/v2/team/app/tags/list").json()["tags"], ["v1", "v2"], "tags")


def test_delete_is_behind_a_flag_and_holds_everywhere():
    """Deleting is refused unless allowed; where allowed, it is seen on every node at once."""
    with Mesh(1) as mesh:
        digest, _ = mesh[1].push_manifest("d/d", "v1", [b"layer"])
        refused = mesh[1].request("DELETE", f"/v2/d/d/manifests/{digest}")
        equal((refused.status, refused.code()), (405, "UNSUPPORTED"), "delete without --deletes allow")
        check("--deletes" in refused.body.decode(), "the refusal names the flag")
    with Mesh(3, "--deletes", "allow") as mesh:
        digest, _ = mesh[1].push_manifest("d/d", "v1", [b"layer"])
        mesh[1].request("PUT", "/v2/d/d/manifests/v2", mesh[1].get("/v2/d/d/manifests/v1").body,
                        {"Content-Type": MANIFEST})
        equal(mesh[2].request("DELETE", "/v2/d/d/manifests/v1").status, 202, "delete of a tag")
        for node in mesh.nodes:
            equal(node.get("/v2/d/d/manifests/v1").status, 404, "tag is gone")
            equal(node.get(f"/v2/d/d/manifests/{digest}").status, 200, "the manifest stays")
        equal(mesh[3].request("DELETE", f"/v2/d/d/manifests/{digest}").status, 202, "delete of a manifest")
        for node in mesh.nodes:
            equal(node.get("/v2/d/d/manifests/v2").status, 404, "its tags go with it")
            equal(node.get(f"/v2/d/d/manifests/{digest}").status, 404, "manifest is gone")


def test_a_manifest_with_thousands_of_tags_is_deleted_with_all_of_them():
    """More tags than one write may change."""
    with Mesh(1, "--deletes", "allow") as mesh:
        digest, text = mesh[1].push_manifest("d/many", "v", [b"layer"])
        other, _ = mesh[1].push_manifest("d/many", "zz", [b"other"])
        for first in range(0, 4230, 90):  # the answer names each in a header
            tags = "&".join(f"tag=t{n:05}" for n in range(first, first + 90))
            put = mesh[1].request("PUT", f"/v2/d/many/manifests/{digest}?{tags}", text, {"Content-Type": MANIFEST})
            equal(put.status, 201, put.body[:200])
        equal(mesh[1].request("DELETE", f"/v2/d/many/manifests/{digest}").status, 202, "delete")
        equal(mesh[1].get("/v2/d/many/tags/list").json()["tags"], ["zz"], "what stays")
        equal(mesh[1].get(f"/v2/d/many/manifests/{other}").status, 200, "the other manifest")


def test_remote_writes_are_denied_by_default():
    """A registry without TLS or users must not take pushes through a proxy by accident."""
    with Mesh(1) as mesh:
        answer = mesh[1].request("POST", "/v2/a/b/blobs/uploads/", headers={"X-Forwarded-For": "10.0.0.9"})
        equal((answer.status, answer.code()), (403, "DENIED"), "a forwarded push")
        check("--remote-writes" in answer.body.decode(), "the refusal names the flag")
        equal(mesh[1].get("/v2/").status, 200, "reading stays open")


def test_an_upload_goes_on_at_another_node():
    """Behind a load balancer the next request of an upload may reach any node."""
    with Mesh(3) as mesh:
        data = os.urandom(2_500_000)
        place = mesh[1].request("POST", "/v2/p/p/blobs/uploads/").header("Location")
        patch = mesh[2].request("PATCH", place, data[:1_500_000])
        equal(patch.status, 202, f"PATCH through another node: {patch.body!r}")
        place = patch.header("Location")
        done = mesh[3].request("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest_of(data)}",
                               data[1_500_000:])
        equal(done.status, 201, f"PUT through a third: {done.body!r}")
        equal(mesh[2].get(f"/v2/p/p/blobs/{digest_of(data)}").body, data, "the blob")


def test_a_request_is_passed_on_once():
    """An owner that advertises another node's HTTP address must not send uploads round in circles."""
    for key in ((), ("--insecure-mesh",)):
        with Mesh(start=False) as mesh:
            flags = ("--remote-writes", "allow", *key)
            two, owner = mesh.make(), mesh.make()
            two.start(*flags)
            if not key:
                flags += ("--cluster-key-file", os.path.join(two.data_dir, "cluster.key"))
            port = two.ready["http"].rsplit(":", 1)[1]
            owner.ready = {"http": f"127.0.0.2:{port}"}  # it advertises 127.0.0.1, where the other node listens
            owner.start("--join", two.ready["gossip"], *flags)
            mesh.settle()
            place = owner.request("POST", "/v2/p/p/blobs/uploads/").header("Location")
            answer = two.request("PATCH", place, b"some bytes")
            equal((answer.status, answer.code()), (503, "UNAVAILABLE"), "passed on to itself, and not again")
            check("passed this request on" in answer.json()["errors"][0]["message"], answer.body)
            equal(owner.request("PATCH", place, b"some bytes").status, 202, "the owner itself takes it")


def test_health_and_metrics():
    """Orchestrators and dashboards read these."""
    with Mesh(2) as mesh:
        equal(mesh[1].get("/livez").status, 200, "/livez")
        until(lambda: mesh[1].get("/readyz").status == 200, "/readyz")
        text = admin(mesh[1], "/metrics")
        for name in ("fastreg_members", "fastreg_http_requests_total", "fastreg_store_bytes",
                     "fastreg_bytes_total", "fastreg_build_info"):
            check(f"\n{name}" in "\n" + text, f"metric {name} is there")


def test_the_log_says_who_did_what_how_much_and_how_long():
    """Who asks what happened to a tag has nothing else to look at."""
    with Mesh(2, "--deletes", "allow", "--replicas", "1", "--log-format", "json") as mesh:
        digest, text = mesh[1].push_manifest("log/log", "v1", [b"layer" * 1000])
        blob = digest_of(b"layer" * 1000)
        mounted = mesh[1].request("POST", f"/v2/log/other/blobs/uploads/?mount={blob}&from=log/log")
        equal(mounted.status, 201, "mounted")
        equal(mesh[2].get(f"/v2/log/log/blobs/{blob}").body, b"layer" * 1000, "pulled")
        for path in ("log/log/manifests/v1", f"log/log/manifests/{digest}", f"log/other/blobs/{blob}"):
            equal(mesh[1].request("DELETE", f"/v2/{path}").status, 202, f"deleted {path}")

        def lines(node, event):
            every = [json.loads(line) for line in node.log_text().splitlines() if line.startswith("{")]
            return [line for line in every if line.get("event") == event]

        for event, repository, count in (("blob.pushed", "log/log", 5000), ("manifest.pushed", "log/log", len(text)),
                                         ("blob.mounted", "log/other", None), ("tag.deleted", "log/log", None),
                                         ("manifest.deleted", "log/log", None), ("blob.deleted", "log/other", None)):
            line = lines(mesh[1], event)[-1]
            equal((line["level"], line["repository"]), ("info", repository), event)
            check(line["client"].startswith("127.0.0.1:") and line["ms"] >= 0, f"who and how long: {line}")
            if count is not None:
                equal(line["bytes"], count, f"how much: {line}")
        equal(lines(mesh[1], "tag.deleted")[0]["reference"], "v1", "what was deleted")
        pulled = until(lambda: [x for x in lines(mesh[2], "blob.pulled") if x["bytes"] == 5000], "the pull")[0]
        equal(pulled["from"], f"{mesh[1].status()['node_id'][:8]}:1", "who sent how many chunks")
        check(pulled["ms"] >= 0, pulled)


def test_a_blob_that_is_elsewhere_has_its_size():
    """A script that asks any node must not read that a blob is empty, or that nobody sent it."""
    with Mesh(2, "--replicas", "1") as mesh:
        data = os.urandom(1_000_000)
        digest = mesh[1].push_blob("team/app", data)
        until(lambda: mesh[2].cli("blob", digest, code=None).returncode == 0, "the directory knows it")
        shown = mesh[2].json("blob", digest)
        equal((shown["size"], shown["chunks"], shown["have"], shown["complete"]), (len(data), 8, 0, False), "elsewhere")
        equal([(h["complete"], h["chunks"]) for h in shown["holders"]], [(True, 8)], "its holder")
        equal(mesh[2].get(f"/v2/team/app/blobs/{digest}").body, data, "pulled")
        equal([s["bytes"] for s in mesh[2].json("blob", digest)["sources"]], [len(data)], "who sent it")
        equal(mesh[2].stop(), 0, "a stop")
        mesh.restart(mesh[2])
        shown = mesh[2].json("blob", digest)
        equal([(s["node_id"], s["bytes"]) for s in shown["sources"]], [("unknown", len(data))], "after a restart")
        check("not known" in mesh[2].cli("blob", digest).stdout, "in words")


def test_a_node_says_of_itself_that_it_is_a_home():
    """Whoever counts the homes of a blob counts the node that was asked, too."""
    with Mesh(3) as mesh:
        digest = mesh[1].push_manifest("team/app", "v1", [b"layer" * 1000])[0]
        until(lambda: sum(blob["digest"] == digest for node in mesh.nodes for blob in node.json("blobs")) > 1,
              "two nodes hold the manifest")
        homes = 0
        for node in mesh.nodes:
            here = [blob for blob in node.json("blobs") if blob["digest"] == digest]
            rows = [row for row in node.json("blob", digest)["holders"] if row["node_id"] == node.status()["node_id"]]
            equal([row["home"] for row in rows], [blob["home"] for blob in here], f"node {node.number} of itself")
            homes += sum(row["home"] for row in rows)
        equal(homes, 2, "homes that know it of themselves")


def test_a_relative_data_directory_is_named_whole():
    """Logs, ready.json and errors are read in another directory than the one the node was started in."""
    with Mesh(start=False) as mesh:
        node = mesh.make()
        whole, node.data_dir = node.data_dir, os.path.relpath(node.data_dir)
        node.start()
        equal(os.path.normpath(node.ready["admin"]), f"{whole}/admin.sock", "admin of ready.json")
        check(f"data={os.getcwd()}/" in node.log_text(), "the log names the whole path")
        equal(node.status()["state"], "alive", "a command finds it by the relative path")
        node.stop()
        check(f"{os.getcwd()}/" in node.cli("status", code=3).stderr, "the error names the whole path")


def admin(node, path):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(os.path.join(node.data_dir, "admin.sock"))
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n".encode())
        data = b""
        while piece := s.recv(65536):
            data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    check(b" 200 " in head.split(b"\r\n")[0], f"admin answers: {head[:100]}")
    return body.decode()


if __name__ == "__main__":
    run_cases(sys.modules[__name__])
