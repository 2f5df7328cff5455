// From the four sources to one checked Config. The only file that includes toml++.
#include <algorithm>
#include <stdexcept>

namespace {
[[noreturn]] void not_toml() { throw std::logic_error("this is not TOML"); }
}  // namespace

// The parser (3.3) asserts on some malformed text, "[[[" for one. A file is not a defect of the
// program: such text becomes an exception like every other parse error, in every kind of build.
#undef NDEBUG
#define TOML_ENABLE_FORMATTERS 0
#define TOML_ASSERT(condition) (static_cast<bool>(condition) ? void() : not_toml())
#include <toml++/toml.h>

#include "config/config.h"
#include "config/keys.h"
#include "config/nearest.h"

namespace fastreg::config {
namespace {

constexpr std::size_t kProblemsMax = 20;
constexpr std::size_t kFileBytesMax = 1 << 20;
constexpr std::size_t kSocketPathMax = 107;  // sun_path without its final zero

class Loader {
  public:
    explicit Loader(const Sources& sources) : sources_(sources) {
        for (const Key& key : keys()) {
            loaded_.origins.emplace(std::string(key.path), Origin::built_in);
            paths_.emplace_back(key.path);
            variables_.push_back(environment_of(key));
        }
    }

    Result<Loaded> run() {
        if (sources_.file_text) read_file(*sources_.file_text);
        for (const auto& [name, value] : sources_.environment) read_variable(name, value);
        for (const auto& [path, value] : sources_.flags) read_flag(path, value);
        if (problems_.empty()) fill_in();
        if (problems_.empty()) cross_check();
        if (problems_.empty()) return std::move(loaded_);
        std::string all;
        for (const std::string& problem : problems_) all += (all.empty() ? "" : "\n") + problem;
        if (hidden_ > 0) all += "\nand " + std::to_string(hidden_) + " more problems";
        return fail(Errc::invalid_argument, std::move(all));
    }

  private:
    void complain(std::string problem) {
        if (problems_.size() < kProblemsMax) {
            problems_.push_back(std::move(problem));
        } else {
            ++hidden_;
        }
    }

    void set(const Key& key, std::string_view text, Origin origin, const std::string& place) {
        // An unset variable in a unit file must not turn a node into a mesh of its own.
        if (key.type == Type::endpoints && text.empty()) return complain(place + " is empty; write HOST:PORT");
        const auto done = assign(key, text, loaded_.config);
        if (!done) return complain(place + " " + done.error().what);
        loaded_.origins.find(key.path)->second = origin;
    }

    // --- file ---

    void read_file(std::string_view text) {
        if (text.size() > kFileBytesMax) {
            return complain(sources_.file_name + ": is larger than 1 MiB; this is not a configuration");
        }
        try {
            walk(toml::parse(text), "");
        } catch (const toml::parse_error& error) {
            complain(place_of(error.source()) + " " + std::string(error.description()));
        } catch (const std::logic_error& error) {
            complain(sources_.file_name + ": " + error.what());
        }
    }

    [[nodiscard]] std::string place_of(const toml::source_region& where) const {
        return sources_.file_name + ":" + std::to_string(where.begin.line) + ":";
    }

    // Sections are one level deep; so is this recursion, whatever is in the file.
    void walk(const toml::table& table, const std::string& prefix) {
        for (const auto& [name, node] : table) {
            const std::string path = prefix + std::string(name.str());
            if (const Key* key = find_key(path)) {
                read_node(*key, node);
            } else if (is_section(path, node, prefix)) {
                walk(*node.as_table(), path + ".");
            } else if (has_section(path)) {
                complain(place_of(name.source()) + " '" + path + "' is a section; write [" + path +
                         "] above its keys");
            } else {
                complain(place_of(name.source()) + " unknown key '" + path.substr(0, 200) + "'" +
                         hint(path, paths_));
            }
        }
    }

    // A misspelt section is looked into: its keys say best what was meant.
    [[nodiscard]] bool is_section(const std::string& path, const toml::node& node,
                                  const std::string& prefix) const {
        if (!prefix.empty() || !node.is_table()) return false;
        return has_section(path) || (!node.as_table()->empty() && !not_yet(path));
    }

    [[nodiscard]] bool has_section(const std::string& path) const {
        return std::any_of(paths_.begin(), paths_.end(),
                           [&](const std::string& known) { return known.starts_with(path + "."); });
    }

    void read_node(const Key& key, const toml::node& node) {
        const std::string place = place_of(node.source()) + " " + std::string(key.path) + ":";
        const auto text = text_of(key, node);
        if (!text) {
            return complain(place + " wants " + wanted(key) + ", not " + kind_of(node));
        }
        // "join = []" is the default written out; a seed that is "" is a slip.
        if (const auto* list = node.as_array(); list != nullptr && list->empty()) {
            loaded_.origins.find(key.path)->second = Origin::file;
            return;
        }
        set(key, *text, Origin::file, place);
    }

    [[nodiscard]] static std::optional<std::string> text_of(const Key& key, const toml::node& node) {
        const bool number = key.type == Type::count || key.type == Type::size ||
                            key.type == Type::share;
        if (const auto* whole = node.as_integer(); whole != nullptr && number) {
            return std::to_string(whole->get());
        }
        if (const auto* flag = node.as_boolean(); flag != nullptr && key.type == Type::boolean) {
            return flag->get() ? "true" : "false";
        }
        if (const auto* array = node.as_array();
            array != nullptr && key.type == Type::endpoints) {
            std::string all;
            for (const toml::node& item : *array) {
                const auto* text = item.as_string();
                if (text == nullptr) return std::nullopt;
                all += (&item == &array->front() ? "" : ",") + text->get();
            }
            return all;
        }
        const bool bare = key.type == Type::count || key.type == Type::boolean;
        if (const auto* text = node.as_string(); text != nullptr && !bare) return text->get();
        return std::nullopt;
    }

    [[nodiscard]] static std::string wanted(const Key& key) {
        switch (key.type) {
            case Type::boolean: return "true or false without quotes";
            case Type::count: return "a whole number without quotes";
            case Type::endpoints: return "a list of strings, [\"HOST:PORT\"]";
            case Type::size: return "a size, \"10GiB\" or a number of bytes";
            case Type::share: return "a size or a percentage, \"10GiB\" or \"80%\"";
            case Type::duration: return "a duration with its unit in quotes, \"30s\"";
            case Type::endpoint: return "a string, \"ADDR:PORT\"";
            default: return "a string in quotes";
        }
    }

    [[nodiscard]] static std::string kind_of(const toml::node& node) {
        switch (node.type()) {
            case toml::node_type::table: return "a table";
            case toml::node_type::array: return "a list";
            case toml::node_type::string: return "a string";
            case toml::node_type::integer: return "a whole number";
            case toml::node_type::floating_point: return "a fraction";
            case toml::node_type::boolean: return "a boolean";
            default: return "a date or a time";
        }
    }

    // --- environment and flags ---

    // Kubernetes puts FASTREG_SERVICE_HOST, FASTREG_PORT_8080_TCP and the like into every container
    // beside a service named "fastreg"; they are not meant for this program.
    [[nodiscard]] static bool made_by_kubernetes(std::string_view name, std::string_view value) {
        return name.find("_SERVICE_HOST") != std::string_view::npos ||
               name.find("_SERVICE_PORT") != std::string_view::npos ||
               name.find("_TCP") != std::string_view::npos ||
               name.find("_UDP") != std::string_view::npos ||
               (name.ends_with("_PORT") && value.find("://") != std::string_view::npos);
    }

    void read_variable(const std::string& name, const std::string& value) {
        // An empty variable is how a shell or a compose file says "not set".
        // Seeds alone are asked for: a node that misses its own would make a mesh of one, with a new key.
        if (!name.starts_with("FASTREG_") || name == "FASTREG_CONFIG") return;
        if (value.empty() && name != "FASTREG_JOIN") return;
        for (std::size_t i = 0; i < variables_.size(); ++i) {
            if (variables_[i] == name) {
                return set(keys()[i], value, Origin::environment, "environment: " + name + ":");
            }
        }
        if (made_by_kubernetes(name, value)) return;
        complain("environment: unknown variable '" + name.substr(0, 200) + "'" +
                 hint(name, variables_));
    }

    void read_flag(const std::string& path, const std::string& value) {
        const Key* key = find_key(path);
        if (key == nullptr) return complain("unknown key '" + path + "'" + hint(path, paths_));
        // A variable that is not set in a script; the default is had by leaving the flag out.
        if (value.empty() && key->type != Type::endpoints) {
            return complain(flag_of(*key) + ": is empty; leave it out for the default");
        }
        // The first --join replaces the seeds of the file; the further ones add to it.
        auto& origin = loaded_.origins.find(key->path)->second;
        std::string text = value;
        if (key->type == Type::endpoints && origin == Origin::flag) {
            text = print(*key, loaded_.config) + "," + value;
        }
        set(*key, text, Origin::flag, flag_of(*key) + ":");
    }

    // --- what is left ---

    void fill_in() {
        Config& config = loaded_.config;
        const Machine& machine = sources_.machine;
        if (config.data_dir.empty()) {
            if (machine.root) {
                config.data_dir = "/var/lib/fastreg";
            } else if (!machine.xdg_data_home.empty()) {
                config.data_dir = machine.xdg_data_home + "/fastreg";
            } else if (!machine.home.empty()) {
                config.data_dir = machine.home + "/.local/share/fastreg";
            } else {
                return complain("data-dir: there is no home directory to put it in; give --data-dir");
            }
        }
        config.data_dir = absolute(config.data_dir, machine.working_dir);
        if (config.cluster_key_file.empty()) {
            config.cluster_key_file = config.default_key_file();
        }
        config.cluster_key_file = absolute(config.cluster_key_file, machine.working_dir);
        if (config.name.empty()) config.name = machine.host_name.substr(0, 64);
        if (config.name.empty()) config.name = "node";
    }

    void cross_check() {
        const Config& config = loaded_.config;
        if (config.limits.tags_page > config.limits.tags_page_max) {
            complain("limits.tags-page: is larger than limits.tags-page-max");
        }
        if (config.store.low_watermark > config.store.high_watermark) {
            complain("store.low-watermark: is larger than store.high-watermark");
        }
        if (config.admin_socket().size() > kSocketPathMax) {
            complain("data-dir: the path is too long for the unix socket in it (" +
                     std::to_string(kSocketPathMax - std::string_view("/admin.sock").size()) +
                     " characters at most): " + config.data_dir);
        }
        const std::vector<std::pair<std::string_view, const Endpoint*>> listeners{
            {"http.listen", &config.http.listen},
            {"gossip.listen", &config.gossip.listen},
            {"transfer.listen", &config.transfer.listen},
            {"admin.listen", &config.admin.listen}};
        for (std::size_t i = 0; i < listeners.size(); ++i) {
            for (std::size_t j = i + 1; j < listeners.size(); ++j) {
                if (!collide(*listeners[i].second, *listeners[j].second)) continue;
                complain(std::string(listeners[i].first) + " and " +
                         std::string(listeners[j].first) + " are the same port " +
                         std::to_string(listeners[i].second->port) + "; give each its own");
            }
        }
    }

    [[nodiscard]] static bool collide(const Endpoint& a, const Endpoint& b) {
        const auto any = [](const Endpoint& e) { return e.host == "::" || e.host == "0.0.0.0"; };
        return a.port != 0 && a.port == b.port && !a.empty() && !b.empty() &&
               (a.host == b.host || any(a) || any(b));
    }

    const Sources& sources_;
    Loaded loaded_;
    std::vector<std::string> paths_;
    std::vector<std::string> variables_;  // beside paths_
    std::vector<std::string> problems_;
    std::size_t hidden_ = 0;
};

}  // namespace

Result<Loaded> load_with_origins(const Sources& sources) { return Loader(sources).run(); }

Result<Config> load(const Sources& sources) {
    FR_TRY_ASSIGN(Loaded loaded, load_with_origins(sources));
    return std::move(loaded.config);
}

}  // namespace fastreg::config
