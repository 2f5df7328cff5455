// From file, environment and flags to one configuration, or to every problem with its place.
#include <doctest/doctest.h>

#include <algorithm>

#include "config/config.h"
#include "config/keys.h"

using namespace fastreg;
using namespace fastreg::config;

namespace {

Sources on_a_machine() {
    Sources sources;
    sources.file_name = "f.toml";
    sources.machine = {true, "host7", "/root", "", "/srv/w"};
    return sources;
}

Result<Config> from_file(std::string text) {
    Sources sources = on_a_machine();
    sources.file_text = std::move(text);
    return load(sources);
}

std::string refusal(std::string text) {
    const auto loaded = from_file(std::move(text));
    return loaded ? "taken" : loaded.error().what;
}

bool has(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("flags win over the environment, the environment over the file") {
    // The order that every operator relies on when one node differs from its template.
    Sources sources = on_a_machine();
    sources.file_text = "zone = \"file\"\nname = \"file\"\ncluster = \"file\"\n";
    sources.environment = {{"FASTREG_ZONE", "env"}, {"FASTREG_NAME", "env"}, {"PATH", "/bin"}};
    sources.flags = {{"zone", "flag"}};
    const auto loaded = load_with_origins(sources);
    REQUIRE(loaded);
    CHECK(loaded->config.zone == "flag");
    CHECK(loaded->config.name == "env");
    CHECK(loaded->config.cluster == "file");
    CHECK(loaded->origins.at("zone") == Origin::flag);
    CHECK(loaded->origins.at("name") == Origin::environment);
    CHECK(loaded->origins.at("cluster") == Origin::file);
    CHECK(loaded->origins.at("replicas") == Origin::built_in);
}

TEST_CASE("each type is taken from each source") {
    // One table drives all three; a type that one of them cannot express would show here.
    const auto file = from_file(R"(
        join = ["10.0.0.1:7946", "seed.example.org:7946"]
        insecure-mesh = true
        replicas = 3
        recv-pool = "64MiB"
        stop-timeout = "1m"
        remote-writes = "allow"
        advertise-addr = "10.0.0.9"
        [http]
        listen = "127.0.0.1:0"
        [store]
        max-bytes = "10GiB"
        min-free = "1%"
        [log]
        level = "debug"
        format = "json"
        [limits]
        manifest-bytes = 1048576
    )");
    REQUIRE_MESSAGE(file, file.error().what);

    Sources sources = on_a_machine();
    sources.environment = {{"FASTREG_JOIN", "10.0.0.1:7946, seed.example.org:7946"},
                           {"FASTREG_INSECURE_MESH", "true"},
                           {"FASTREG_REPLICAS", "3"},
                           {"FASTREG_RECV_POOL", "64MiB"},
                           {"FASTREG_STOP_TIMEOUT", "60s"},
                           {"FASTREG_REMOTE_WRITES", "allow"},
                           {"FASTREG_ADVERTISE_ADDR", "10.0.0.9"},
                           {"FASTREG_HTTP_LISTEN", "127.0.0.1:0"},
                           {"FASTREG_STORE_MAX_BYTES", "10GiB"},
                           {"FASTREG_STORE_MIN_FREE", "1%"},
                           {"FASTREG_LOG_LEVEL", "debug"},
                           {"FASTREG_LOG_FORMAT", "json"},
                           {"FASTREG_LIMITS_MANIFEST_BYTES", "1MiB"}};
    const auto environment = load(sources);
    REQUIRE_MESSAGE(environment, environment.error().what);
    CHECK(*environment == *file);

    Sources flags = on_a_machine();
    for (const Key& key : keys()) {  // what is empty is left out: a flag may not be
        if (auto text = print(key, *file); !text.empty()) flags.flags.emplace_back(key.path, std::move(text));
    }
    const auto flagged = load(flags);
    REQUIRE_MESSAGE(flagged, flagged.error().what);
    CHECK(*flagged == *file);

    CHECK(file->join.size() == 2);
    CHECK(file->join[1].host == "seed.example.org");
    CHECK(file->remote_writes == Gate::allow);
    CHECK(file->http.listen.str() == "127.0.0.1:0");
    CHECK(file->store.max_bytes.bytes == 10ULL << 30);
    CHECK(file->limits.manifest_bytes == 1 << 20);
}

TEST_CASE("an unknown key names its line and the key that was meant") {
    // A misspelt limit that is ignored is found a month later, at the worst time.
    const auto what = refusal("name = \"a\"\n\n[http]\nlistn = \"[::]:80\"\n");
    CHECK(has(what, "f.toml:4:"));
    CHECK(has(what, "'http.listn'"));
    CHECK(has(what, "did you mean 'http.listen'"));
    CHECK(has(refusal("[htpt]\nlisten = \"[::]:80\"\n"), "unknown key 'htpt.listen'; did you mean 'http.listen'?"));
    CHECK(has(refusal("[rdma]\nenable = true\n"), "unknown key 'rdma.enable'; did you mean 'rdma.enabled'?"));
    CHECK(has(refusal("[[upstream]]\nurl = \"x\"\n"), "unknown key 'upstream'"));

    Sources sources = on_a_machine();
    sources.environment = {{"FASTREG_HTTP_LISTN", "[::]:80"}};
    CHECK(has(load(sources).error().what, "did you mean 'FASTREG_HTTP_LISTEN'"));
}

TEST_CASE("a value of the wrong type says where, what is wanted and what was given") {
    // TOML has types; a quoted number is the commonest slip.
    CHECK(has(refusal("replicas = \"2\"\n"), "f.toml:1: replicas: wants a whole number without quotes"));
    CHECK(has(refusal("\nreplicas = 2.5\n"), "f.toml:2: replicas:"));
    CHECK(has(refusal("insecure-mesh = \"true\"\n"), "not a string"));
    CHECK(has(refusal("stop-timeout = 30\n"), "wants a duration with its unit in quotes"));
    CHECK(has(refusal("name = 7\n"), "wants a string in quotes"));
    CHECK(has(refusal("join = [1]\n"), "wants a list of strings"));
    CHECK(has(refusal("http = \"[::]:80\"\n"), "f.toml:1: 'http' is a section; write [http] above its keys"));
    CHECK(has(refusal("name = 1979-05-27\n"), "a date"));
}

TEST_CASE("a value outside its limits is refused with the limits") {
    CHECK(has(refusal("replicas = 0\n"), "outside 1 to 16"));
    CHECK(has(refusal("replicas = -1\n"), "'-1' is not a whole number"));
    CHECK(has(refusal("recv-pool = \"1MiB\"\n"), "outside 4MiB to 64GiB"));
    CHECK(has(refusal("push-timeout = \"2h\"\n"), "outside 1s to 1h"));
    CHECK(has(refusal("cluster = \"\"\n"), "may not be empty"));
    CHECK(has(refusal("name = \"" + std::string(65, 'n') + "\"\n"), "longer than 64"));
    CHECK(has(refusal("name = \"a\\u0007b\"\n"), "control character"));
    CHECK(has(refusal("[store]\nmax-bytes = \"1KiB\"\n"), "at least 1MiB"));
    CHECK(has(refusal("remote-writes = \"yes\"\n"), "'yes' is not one of allow, deny"));
    CHECK(has(refusal("[log]\nlevel = \"loud\"\n"), "trace, debug, info"));
}

TEST_CASE("a limit of manifests over what the registry reads is refused") {
    // 413 at 4 MiB although the configuration says 16 would send the operator looking for a proxy.
    CHECK(has(refusal("[limits]\nmanifest-bytes = \"5MiB\"\n"), "outside 64KiB to 4MiB"));
}

TEST_CASE("an address that cannot serve its purpose is refused at once") {
    // Found at start, not when the first peer fails to dial.
    CHECK(has(refusal("[http]\nlisten = \"8080\"\n"), "has no port"));
    CHECK(has(refusal("[http]\nlisten = \"::1:8080\"\n"), "without brackets"));
    CHECK(has(refusal("[http]\nlisten = \"node1:8080\"\n"), "numeric address"));
    CHECK(has(refusal("[http]\nlisten = \"\"\n"), "has no port"));
    CHECK(has(refusal("[http]\nlisten = \"0.0.0.0:99999\"\n"), "port"));
    CHECK(has(refusal("advertise-addr = \"0.0.0.0\"\n"), "cannot be dialled"));
    CHECK(has(refusal("advertise-addr = \"::\"\n"), "cannot be dialled"));
    CHECK(has(refusal("[rdma]\nadvertise-addr = \"0.0.0.0\"\n"), "cannot be dialled"));
    CHECK(has(refusal("[rdma]\nlisten-addr = \"\"\n"), "may not be empty"));
    CHECK(from_file("[rdma]\nlisten-addr = \"::\"\n")->rdma.listen_addr == "::");
    CHECK(has(refusal("advertise-addr = \"10.0.0.1:80\"\n"), "without a port"));
    CHECK(has(refusal("join = [\"10.0.0.1\"]\n"), "has no port"));
    CHECK(has(refusal("join = [\"10.0.0.1:0\"]\n"), "cannot be dialled"));
    CHECK(has(refusal("join = [\":7946\"]\n"), "cannot be dialled"));
    CHECK(has(refusal("[http]\nlisten = \"[::]:7946\"\n"), "http.listen and gossip.listen are the same"));
    CHECK(from_file("[http]\nlisten = \"localhost:80\"\n")->http.listen.str() == "127.0.0.1:80");
    CHECK(from_file("[http]\nlisten = \":80\"\n")->http.listen.str() == "[::]:80");
    CHECK(from_file("advertise-addr = \"[fd00::1]\"\n")->advertise_addr == "fd00::1");
    CHECK(from_file("[http]\nlisten=\"127.0.0.1:7000\"\n[gossip]\nlisten=\"127.0.0.2:7000\"\n"));
}

TEST_CASE("a file that is not TOML says where it stops being TOML") {
    CHECK(has(refusal("name = \"a\"\nname == 3\n"), "f.toml:2:"));
    CHECK(has(refusal("name = \"a\"\nname = \"b\"\n"), "f.toml:2:"));
    CHECK(has(refusal(std::string(2 << 20, '#')), "larger than 1 MiB"));
    CHECK(refusal(std::string(100'000, '[')) != "taken");
    CHECK(refusal("a = " + std::string(100'000, '[')) != "taken");
    CHECK(refusal(std::string("name = \"\xff\xfe\"\n")) != "taken");
    CHECK(refusal("") == "taken");
}

TEST_CASE("all problems are told at once, up to twenty") {
    // Fixing a file one error a start is a bad morning; a megabyte of errors is another.
    const auto two = refusal("replicas = 0\nnam = \"x\"\n");
    CHECK(has(two, "replicas"));
    CHECK(has(two, "'nam'"));
    std::string many;
    for (int i = 0; i < 50; ++i) many += "key" + std::to_string(i) + " = 1\n";
    CHECK(has(refusal(many), "and 30 more problems"));
}

TEST_CASE("a relative path is a whole one from the start") {
    // Logs, status and errors name it, and are read from another directory.
    Sources sources = on_a_machine();
    sources.flags = {{"data-dir", "data/a/"}, {"cluster-key-file", "./keys/k"}};
    CHECK(load(sources)->data_dir == "/srv/w/data/a");
    CHECK(load(sources)->cluster_key_file == "/srv/w/keys/k");
    sources.flags = {{"data-dir", "data"}};
    CHECK(load(sources)->cluster_key_file == "/srv/w/data/cluster.key");
    CHECK(load(sources)->admin_socket() == "/srv/w/data/admin.sock");
    CHECK(absolute("/a/b/", "/srv/w") == "/a/b");
    CHECK(absolute("/", "/srv/w") == "/");
    CHECK(absolute("./", "/srv/w") == "/srv/w");
    CHECK(absolute(".", "/srv/w") == "/srv/w");
    CHECK(absolute(".//a", "/srv/w") == "/srv/w/a");
    CHECK(absolute("../a", "/srv/w") == "/srv/w/../a");
    CHECK(absolute(".a", "/") == "/.a");
    CHECK(absolute("a", "") == "a");
}

TEST_CASE("a misspelt section is told by its keys, and a section that is none is named") {
    CHECK(has(refusal("[htp]\nlisten = \"[::]:1\"\n"),
              "f.toml:2: unknown key 'htp.listen'; did you mean 'http.listen'?"));
    CHECK(has(refusal("htp.listen = \"[::]:1\"\n"), "unknown key 'htp.listen'; did you mean 'http.listen'?"));
    CHECK(has(refusal("[htp]\n"), "f.toml:1: unknown key 'htp'"));
    CHECK(has(refusal("[[http]]\nlisten = \"[::]:1\"\n"),
              "f.toml:1: 'http' is a section; write [http] above its keys"));
    CHECK(has(refusal("[a.b.c]\nd = 1\n"), "unknown key 'a.b'"));
}

TEST_CASE("an upstream is not in this version, and is not taken for a slip") {
    const std::string_view words =
        "unknown key 'upstream'; pulling through from another registry is not in this version";
    CHECK(has(refusal("[[upstream]]\nhost = \"docker.io\"\n"), words));
    CHECK(has(refusal("[upstream]\nurl = \"x\"\n"), words));
    CHECK(has(refusal("upstream-url = \"x\"\n"), "unknown key 'upstream-url'; pulling through"));
    Sources sources = on_a_machine();
    sources.environment = {{"FASTREG_TLS_CERT", "f"}};
    CHECK(has(load(sources).error().what, "unknown variable 'FASTREG_TLS_CERT'; TLS is not in this version"));
}

TEST_CASE("what is left empty is made from the machine") {
    // The interface's defaults: /var/lib for root, the user's data directory for others.
    Sources sources = on_a_machine();
    CHECK(load(sources)->data_dir == "/var/lib/fastreg");
    CHECK(load(sources)->cluster_key_file == "/var/lib/fastreg/cluster.key");
    CHECK(load(sources)->name == "host7");
    sources.machine = {false, "", "/home/u", "", "/srv/w"};
    CHECK(load(sources)->data_dir == "/home/u/.local/share/fastreg");
    CHECK(load(sources)->name == "node");
    sources.machine.xdg_data_home = "/home/u/xdg";
    CHECK(load(sources)->data_dir == "/home/u/xdg/fastreg");
    sources.machine = {false, "", "", "", "/srv/w"};
    CHECK(has(load(sources).error().what, "--data-dir"));
    sources.flags = {{"data-dir", "/srv/fr//"}};
    CHECK(load(sources)->data_dir == "/srv/fr");
    CHECK(load(sources)->admin_socket() == "/srv/fr/admin.sock");
    sources.flags = {{"data-dir", "/" + std::string(100, 'd')}};
    CHECK(has(load(sources).error().what, "too long for the unix socket"));
}

TEST_CASE("--join adds to itself and replaces the seeds of the file") {
    Sources sources = on_a_machine();
    sources.file_text = "join = [\"10.0.0.1:1\"]\n";
    sources.flags = {{"join", "10.0.0.2:2"}, {"join", "10.0.0.3:3,10.0.0.4:4"}};
    const auto config = load(sources);
    REQUIRE(config);
    REQUIRE(config->join.size() == 3);
    CHECK(config->join[0].str() == "10.0.0.2:2");
    CHECK(config->join[2].str() == "10.0.0.4:4");
}

TEST_CASE("an empty seed is refused and does not make a mesh of one") {
    // --join "$SEED" with SEED unset would start a mesh of its own and make a new key for it.
    for (const std::string value : {"", " ", ",", "10.0.0.1:7946, "}) {
        CAPTURE(value);
        Sources sources = on_a_machine();
        sources.flags = {{"join", value}};
        REQUIRE(!load(sources));
        CHECK(has(load(sources).error().what, "--join: is empty; write HOST:PORT"));
        sources.flags = {{"join", "10.0.0.1:7946"}, {"join", value}};
        CHECK(!load(sources));
        sources.flags = {};
        sources.environment = {{"FASTREG_JOIN", value}};
        REQUIRE(!load(sources));
        CHECK(has(load(sources).error().what, "FASTREG_JOIN: is empty; write HOST:PORT"));
        CHECK(has(refusal("join = \"" + value + "\"\n"), "join: is empty; write HOST:PORT"));
        CHECK(refusal("join = [\"" + value + "\"]\n") != "taken");
    }
    CHECK(has(refusal("join = [\"\"]\n"), "join: is empty; write HOST:PORT"));
    CHECK(from_file("join = []\n")->join.empty());
}

TEST_CASE("an empty flag is refused and does not stand for the default") {
    // --data-dir "$DIR" with DIR unset would start a node on another disk, or join with another name.
    for (const Key& key : keys()) {
        if (key.type == Type::boolean) continue;  // the command line gives these a value
        Sources sources = on_a_machine();
        sources.flags = {{std::string(key.path), ""}};
        CAPTURE(key.path);
        REQUIRE(!load(sources));
        CHECK(has(load(sources).error().what, flag_of(key) + ": is empty; "));
    }
    // In a file it is how the defaults are written out, in the environment how "not set" is written.
    CHECK(from_file("data-dir = \"\"\nname = \"\"\n[admin]\nlisten = \"\"\n")->name == "host7");
}

TEST_CASE("nought is refused, or means what its key says, and never that there is no limit") {
    // An operator who writes 0 for "unlimited" must hear that a limit stays a limit.
    const std::vector<std::string_view> taken{"stop-timeout",   "io-threads",       "disk-threads",
                                              "store.min-free", "rdma.listen-port", "rdma.tos"};
    for (const Key& key : keys()) {
        const bool number = key.type == Type::count || key.type == Type::size ||
                            key.type == Type::share || key.type == Type::duration;
        if (!number) continue;
        CAPTURE(key.path);
        Sources sources = on_a_machine();
        sources.flags = {{std::string(key.path), "0"}};
        const auto loaded = load(sources);
        CHECK(loaded.has_value() == (std::find(taken.begin(), taken.end(), key.path) != taken.end()));
        if (loaded) CHECK(has(std::string(key.help), key.type == Type::duration ? "0s: " : "0: "));
        if (!loaded) CHECK(has(loaded.error().what, flag_of(key) + ": '0' is "));
    }
    Sources sources = on_a_machine();
    sources.flags = {{"store.max-bytes", "0"}, {"limits.uploads", "0"}};
    CHECK(load(sources).error().what ==
          "--store-max-bytes: '0' is not at least 1MiB\n--limits-uploads: '0' is outside 1 to 1000000");
}

TEST_CASE("variables that Kubernetes makes for a service of this name are passed over") {
    // FASTREG_PORT=tcp://... appears in every pod beside a service called fastreg.
    Sources sources = on_a_machine();
    sources.environment = {{"FASTREG_SERVICE_HOST", "10.96.0.7"},
                           {"FASTREG_SERVICE_PORT", "8080"},
                           {"FASTREG_SERVICE_PORT_HTTP", "8080"},
                           {"FASTREG_PORT", "tcp://10.96.0.7:8080"},
                           {"FASTREG_PORT_8080_TCP_ADDR", "10.96.0.7"},
                           {"FASTREG_GOSSIP_PORT", "tcp://10.96.0.8:7946"},
                           {"FASTREG_ZONE", ""},
                           {"FASTREG_REPLICAS", ""}};
    const auto config = load(sources);
    REQUIRE_MESSAGE(config, config.error().what);
    CHECK(config->replicas == 2);
    sources.environment = {{"FASTREG_PORT", "8080"}};
    CHECK(!load(sources));
}

TEST_CASE("a reload takes what may change and names what needs a restart") {
    // SIGHUP must not pretend that a new port is in effect.
    const Config running = *from_file("replicas = 2\n");
    const Config wanted =
        *from_file("replicas = 3\njoin = [\"10.0.0.1:1\"]\n[log]\nlevel = \"debug\"\n");
    const Changes changes = compare(running, wanted);
    CHECK(changes.reloadable == std::vector<std::string>{"join", "log.level"});
    CHECK(changes.needs_restart == std::vector<std::string>{"replicas"});
    const Config now = reloaded(running, wanted);
    CHECK(now.log.level == log::Level::debug);
    CHECK(now.join.size() == 1);
    CHECK(now.replicas == 2);
}

TEST_CASE("thread numbers follow the cores unless they are given") {
    Config config;
    CHECK(config.io_threads_for(1) == 1);
    CHECK(config.io_threads_for(2) == 2);
    CHECK(config.io_threads_for(64) == 4);
    CHECK(config.disk_threads_for(1) == 2);
    CHECK(config.disk_threads_for(64) == 4);
    config.io_threads = 9;
    CHECK(config.io_threads_for(1) == 9);
}
