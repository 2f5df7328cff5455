"""The metrics page of real nodes: complete, explained, and counting what happened."""
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import Mesh, check, equal, run_cases, until  # noqa: E402
from test_registry import admin  # noqa: E402

HANDBOOK = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/OPERATIONS.md")


class Family:
    def __init__(self):
        self.help, self.type, self.labels, self.values = "", "", set(), {}


def families(node):
    """The page as {name: Family}; fails on a line that Prometheus would not take."""
    found = {}
    for line in admin(node, "/metrics").splitlines():
        if about := re.fullmatch(r"# (HELP|TYPE) (\w+) (.+)", line):
            family = found.setdefault(about[2], Family())
            setattr(family, about[1].lower(), about[3])
            continue
        sample = re.fullmatch(r'(\w+)(?:\{(\w+="[^"]*"(?:,\w+="[^"]*")*)\})? ([-+.e0-9]+)', line)
        check(sample, f"a line that is none: {line!r}")
        name = sample[1]
        if name not in found:
            name = re.sub("_(bucket|sum|count)$", "", name)
        check(name in found and found[name].help and found[name].type, f"HELP and TYPE come before {line!r}")
        found[name].labels |= set(re.findall(r'(\w+)="', sample[2] or "")) - {"le"}
        found[name].values[sample[1] + "{" + (sample[2] or "") + "}"] = float(sample[3])
    return found


def count(node, series):
    """The value of `name{labels}`."""
    name = series.split("{")[0]
    return families(node)[name].values[series]


def explained():
    """The table of the handbook as {name: (type, labels)}."""
    with open(HANDBOOK) as f:
        rows = re.findall(r"^\| `(fastreg_\w+)` \| (\w+) \|([^|]*)\| ([^|]+) \|[^|]*\|$", f.read(), re.M)
    table = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in rows}
    equal(len(table), len(rows), "one row for each metric")
    return table


def test_every_metric_is_explained_and_every_explained_one_is_there():
    """An operator who looks up a name must find it, and a dashboard must not wait for one that never comes."""
    with Mesh(1) as mesh:
        shown, table = families(mesh[1]), explained()
        equal(sorted(shown.keys() - table.keys()), [], "on the page, not in docs/OPERATIONS.md")
        equal(sorted(table.keys() - shown.keys()), [], "in docs/OPERATIONS.md, not on the page")
        for name, family in shown.items():
            equal((family.type, family.labels), table[name], f"type and labels of {name}")
            equal(name.endswith("_total"), family.type == "counter", f"{name} is a {family.type}")
            check(not family.labels & {"peer", "node", "digest", "repository", "tag"}, f"labels of {name}")


def test_requests_that_are_passed_on_are_counted():
    """Behind a load balancer many uploads are passed on; a node that fails them must not look idle."""
    def counted(node, code):
        return count(node, f'fastreg_http_requests_total{{method="PATCH",kind="upload",code="{code}"}}')

    with Mesh(2) as mesh:
        owner, other = mesh.nodes
        place = owner.request("POST", "/v2/c/c/blobs/uploads/").header("Location")
        equal(other.request("PATCH", place, b"some bytes").status, 202, "passed on")
        until(lambda: counted(other, "2xx") == 1, "counted where it came in", 5)
        until(lambda: counted(owner, "2xx") == 1, "and where it was done", 5)
        wrong = other.request("PATCH", place, b"bytes", {"Content-Range": "100-104"})
        equal(wrong.status, 416, "the owner's refusal")
        until(lambda: counted(other, "4xx") == 1, "counted as the client's error", 5)
        owner.kill()
        equal(other.request("PATCH", place, b"more").status, 503, "the owner is gone")
        until(lambda: counted(other, "5xx") == 1, "counted as a failure", 5)


def test_connections_over_the_limit_are_counted_and_the_log_names_the_key():
    """A client that is sent away sees a 503; the operator must find which key to raise."""
    with Mesh(1, "--limits-connections", "1") as mesh:
        node = mesh[1]
        refused = 'fastreg_http_connections_refused_total{listener="registry"}'
        with node.connect() as first:
            first.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
            check(first.recv(65536).startswith(b"HTTP/1.1 200 "), "the first is served")
            with node.connect() as second:
                check(second.recv(65536).startswith(b"HTTP/1.1 503 "), "the second is sent away")
        until(lambda: count(node, refused) == 1, "counted", 5)
        said = [line for line in node.log_text().splitlines() if "http.connections_refused" in line]
        keys = re.findall(r"limits\.[\w-]+", " ".join(said))
        equal(keys, ["limits.connections", "limits.connections-per-address"], f"the keys of {said}")


def test_requests_in_flight_are_shown():
    """What a stop waits for, and what grows when something hangs."""
    with Mesh(1) as mesh:
        node = mesh[1]
        equal(count(node, "fastreg_http_inflight{}"), 0, "idle")
        place = node.request("POST", "/v2/i/i/blobs/uploads/").header("Location")
        with node.connect() as s:
            s.sendall(f"PATCH {place} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab".encode())
            until(lambda: count(node, "fastreg_http_inflight{}") == 1, "one in hand", 5)
            s.sendall(b"cd")
            check(s.recv(65536).startswith(b"HTTP/1.1 202 "), "answered")
            until(lambda: count(node, "fastreg_http_inflight{}") == 0, "idle again", 5)


def test_bytes_between_zones_are_told_from_those_within():
    """What crosses zones costs money; an operator must see that near peers are asked first."""
    with Mesh(0, "--replicas", "1") as mesh:
        mesh.add("--zone", "rack 7")  # told to others as "rack-7"
        mesh.add("--zone", "rack 8")
        mesh.add("--zone", "rack 8")
        mesh.add()
        mesh.settle()
        data = os.urandom(3_000_000)
        digest = mesh[1].push_blob("z/z", data)

        def moved(number, direction, zone):
            source = "peer" if direction == "in" else "local"
            labels = f'direction="{direction}",source="{source}",transport="tcp",zone="{zone}"'
            return count(mesh[number], f"fastreg_bytes_total{{{labels}}}")

        for number in (2, 3, 4):
            equal(mesh[number].get(f"/v2/z/z/blobs/{digest}").body, data, f"the bytes at node {number}")
        check(moved(2, "in", "other") >= len(data), "the only holder is in another zone")
        equal((moved(2, "in", "same"), moved(2, "in", "none")), (0, 0), "nothing else")
        check(moved(3, "in", "same") > 0, "the neighbour in the own zone has helped")
        check(moved(4, "in", "none") >= len(data), "a node without a zone counts none")
        until(lambda: moved(2, "out", "same") == moved(3, "in", "same"), "sent is what was received", 5)


if __name__ == "__main__":
    run_cases(sys.modules[__name__])
