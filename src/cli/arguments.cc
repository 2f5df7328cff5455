// The only file that includes CLI11.
#include "cli/arguments.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <map>
#include <memory>

#include "config/keys.h"
#include "config/nearest.h"

namespace fastreg::cli {
namespace {

// The parser would take -1 for a very large number. An empty text: the value is fine.
const CLI::Validator kCount(
    [](const std::string& text) -> std::string {
        const bool digits = !text.empty() && text.size() <= 9 &&
                            text.find_first_not_of("0123456789") == std::string::npos;
        return digits && text.find_first_not_of('0') != std::string::npos
                   ? ""
                   : "'" + text + "' is not a whole number from 1 to 999999999";
    },
    "N");

const CLI::Validator kSpan(
    [](const std::string& text) -> std::string {
        double seconds = 0;
        const auto read = std::from_chars(text.data(), text.data() + text.size(), seconds);
        const bool number = read.ec == std::errc{} && read.ptr == text.data() + text.size();
        return number && seconds > 0 && seconds <= 10 ? "" : "'" + text + "' is not a number of seconds up to 10";
    },
    "S");

// An unset variable in a script must not make another node or another configuration of it.
const CLI::Validator kGiven([](const std::string& text) { return std::string(text.empty() ? "is empty" : ""); },
                            "TEXT");

// Commands that people look for and this version does not have.
constexpr std::string_view kCommandsToCome[] = {"gc", "pull", "why"};

std::string without_value(const std::string& word) { return word.substr(0, word.find('=')); }

bool client_may_set(std::string_view path) { return path == "data-dir"; }

// Both spellings of a boolean become one word, since CLI11 takes a flag's value only behind "=";
// and "--zone=" becomes two words, since CLI11 takes the next word for an empty value.
std::vector<std::string> normalized(std::span<const std::string> arguments) {
    std::vector<std::string> flags;
    for (const config::Key& key : config::keys()) {
        if (key.type == config::Type::boolean) flags.push_back(config::flag_of(key));
    }
    std::vector<std::string> out;
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        const std::string& word = arguments[i];
        if (word == "--") {
            out.insert(out.end(), arguments.begin() + static_cast<std::ptrdiff_t>(i), arguments.end());
            break;
        }
        const bool boolean = std::find(flags.begin(), flags.end(), word) != flags.end();
        if (boolean && i + 1 < arguments.size() &&
            (arguments[i + 1] == "true" || arguments[i + 1] == "false")) {
            out.push_back(word + "=" + arguments[++i]);
        } else if (word.starts_with("--") && word.ends_with('=') && word.find('=') == word.size() - 1) {
            out.push_back(word.substr(0, word.size() - 1));
            out.emplace_back();
        } else {
            out.push_back(word);
        }
    }
    return out;
}

class Parser {
  public:
    Parser() {
        app_.set_help_flag();
        app_.allow_extras();
        app_.require_subcommand(0, 1);
        app_.add_flag("-h,--help", top_help_);
        app_.add_flag("--version", version_);
        app_.add_option("--config", config_file_)->check(kGiven);
        add_settings(app_, false);

        add_settings(*add(Command::serve), false);
        add_client(Command::status);
        CLI::App* peers = add_client(Command::peers);
        peers->add_flag("--watch,-w", invocation_.watch);
        peers->add_option("--times", invocation_.times)->check(kCount);
        add_client(Command::blobs)->add_option("--limit", invocation_.limit)->check(kCount);
        add_client(Command::blob)->add_option("DIGEST", invocation_.argument)->required()->check(kGiven);
        add_client(Command::join)->add_option("ADDR", invocation_.argument)->required()->check(kGiven);
        CLI::App* leave = add_client(Command::leave);
        leave->add_option("--timeout", invocation_.timeout)->check(kGiven);
        leave->add_flag("!--no-wait", invocation_.wait);
        add_client(Command::drain)->add_flag("!--no-wait", invocation_.wait);
        CLI::App* verify = add_client(Command::verify);
        verify->add_option("DIGEST", invocation_.argument)->check(kGiven);
        verify->add_flag("!--no-wait", invocation_.wait);
        for (const Command command : {Command::pin, Command::unpin}) {
            add_client(command)->add_option("DIGEST", invocation_.argument)->required()->check(kGiven);
        }
        add_client(Command::key_show);
        CLI::App* check = add(Command::config_check);
        add_settings(*check, false);
        check->add_option("FILE", invocation_.argument)->check(kGiven);
        check->add_flag("--default", invocation_.defaults);
        add_settings(*add(Command::doctor), false);
        CLI::App* bench = add_client(Command::bench);
        bench->add_option("PEER", invocation_.argument)->required()->check(kGiven);
        bench->add_option("--transport", invocation_.transports)->check(kGiven);
        bench->add_option("--size", invocation_.sizes)->check(kGiven);
        bench->add_option("--depth", invocation_.depths)->check(kGiven);
        bench->add_option("--seconds", invocation_.seconds)->check(kSpan);
        add(Command::version);
    }

    Result<Invocation> run(std::span<const std::string> arguments) {
        std::vector<std::string> words = normalized(arguments);
        // "help status" is "status --help".
        const bool help = !words.empty() && words.front() == "help";
        while (!words.empty() && words.front() == "help") words.erase(words.begin());
        if (help) words.emplace_back("--help");
        std::reverse(words.begin(), words.end());  // as CLI11 wants them
        bool incomplete = false;
        try {
            app_.parse(std::move(words));
        } catch (const CLI::ParseError& error) {
            // A missing positional is no matter when only the help was asked for.
            incomplete = help_ || top_help_;
            if (!incomplete) return usage(in_plain_words(error, find_chosen()));
        }
        const Named* chosen = find_chosen();
        if (auto extra = first_extra(chosen); extra && !incomplete) {
            return usage(complaint_about(*extra, chosen));
        }
        for (const CLI::App* group : groups_) {
            if (!group->parsed() || !group->get_subcommands().empty()) continue;
            if (!help_) return usage("'" + group->get_name() + "' wants a command behind it: " + only_of(group));
            chosen = find_named(only_of(group));
        }
        return finish(chosen);
    }

  private:
    struct Named {
        Command command;
        CLI::App* app;
    };
    using Store = std::map<std::string, std::vector<std::string>>;

    CLI::App* group(const std::string& name) {
        CLI::App* found = app_.add_subcommand(name);
        found->set_help_flag();
        found->allow_extras();
        found->add_flag("-h,--help", help_);
        groups_.push_back(found);
        return found;
    }

    CLI::App* add(Command command) {
        std::string name(name_of(command));
        CLI::App* parent = &app_;
        if (const auto blank = name.find(' '); blank != std::string::npos) {
            parent = group(name.substr(0, blank));
            name = name.substr(blank + 1);
        }
        CLI::App* made = parent->add_subcommand(name);
        made->set_help_flag();
        made->allow_extras();
        made->add_flag("-h,--help", help_);
        if (command != Command::serve) made->add_flag("--json", invocation_.json);
        if (command != Command::version) made->add_option("--config", config_file_)->check(kGiven);
        commands_.push_back({command, made});
        return made;
    }

    CLI::App* add_client(Command command) {
        CLI::App* made = add(command);
        add_settings(*made, true);
        made->add_option("--admin", invocation_.admin)->check(kGiven);
        return made;
    }

    void add_settings(CLI::App& app, bool client) {
        for (const config::Key& key : config::keys()) {
            if (client && !client_may_set(key.path)) continue;
            std::string names = config::flag_of(key);
            if (!key.alias.empty()) names += ",--" + std::string(key.alias);
            std::vector<std::string>& values = values_[&app][std::string(key.path)];
            if (key.type == config::Type::boolean) {
                // As text: what may stand behind "=" is for the configuration to judge.
                booleans_.emplace_back(&values, app.add_flag(names, ignored_));
            } else {
                CLI::Option* option = app.add_option(names, values)->allow_extra_args(false)->take_all();
                if (client) option->check(kGiven);
            }
        }
    }

    // "key show": each group has one command so far.
    [[nodiscard]] static std::string only_of(const CLI::App* group) {
        return group->get_name() + " " + group->get_subcommands({}).front()->get_name();
    }

    [[nodiscard]] const Named* find_named(const std::string& name) const {
        const auto found = std::find_if(commands_.begin(), commands_.end(),
                                        [&](const Named& named) { return name_of(named.command) == name; });
        return found == commands_.end() ? nullptr : &*found;
    }

    // The parser's own sentences speak of types and of options that are required.
    [[nodiscard]] static std::string in_plain_words(const CLI::ParseError& error, const Named* chosen) {
        const std::string what = error.what();
        if (dynamic_cast<const CLI::ConversionError*>(&error) != nullptr) {
            const auto flag = what.find("--");
            if (flag != std::string::npos) return what.substr(flag, what.find(' ', flag) - flag) + " takes no value";
        }
        if (what.find(" required") == std::string::npos) return what;
        if (what.starts_with("--")) return what.substr(0, what.find(':')) + " wants a value behind it";
        const std::string word = what.substr(0, what.find(' '));
        if (chosen == nullptr) return word + " is missing";
        const std::string name(name_of(chosen->command));
        return "'" + name + "' wants " + word + " behind it: fastreg " + name + " " + word;
    }

    [[nodiscard]] const Named* find_chosen() const {
        for (const Named& named : commands_) {
            if (named.app->parsed()) return &named;
        }
        return nullptr;
    }

    [[nodiscard]] std::optional<std::string> first_extra(const Named* chosen) const {
        for (const CLI::App* app : {static_cast<const CLI::App*>(&app_),
                                    chosen ? static_cast<const CLI::App*>(chosen->app) : nullptr}) {
            if (app == nullptr) continue;
            for (const std::string& word : app->remaining()) {
                if (word != "--") return word;
            }
        }
        for (const CLI::App* group : groups_) {
            if (group->parsed() && !group->remaining().empty()) return group->remaining().front();
        }
        return std::nullopt;
    }

    [[nodiscard]] std::string complaint_about(const std::string& word, const Named* chosen) const {
        if (word.empty()) return "an argument is empty; is a variable not set?";
        if (word.starts_with("-")) return complaint_about_flag(without_value(word), chosen);
        if (chosen != nullptr) {
            return "unexpected argument '" + word + "' behind '" + std::string(name_of(chosen->command)) + "'";
        }
        for (const CLI::App* group : groups_) {
            if (!group->parsed()) continue;
            return "unknown command '" + group->get_name() + " " + word + "'; there is '" + only_of(group) + "'";
        }
        if (std::ranges::count(kCommandsToCome, word) > 0) {
            return "unknown command '" + word + "'; it is not in this version";
        }
        std::vector<std::string> known;
        for (const Named& named : commands_) known.emplace_back(name_of(named.command));
        return "unknown command '" + word + "'" + config::hint(word, known);
    }

    [[nodiscard]] std::string complaint_about_flag(const std::string& flag, const Named* chosen) const {
        std::string owners;
        std::size_t count = 0;
        for (const Named& named : commands_) {
            if (named.app->get_option_no_throw(flag) == nullptr || ++count > 4) continue;
            owners += count > 3 ? " and others" : (count > 1 ? ", " : "") + std::string(name_of(named.command));
        }
        if (count > 0) {
            return "'" + flag + "' is a flag of " + owners + "; " +
                   (chosen != nullptr ? "'" + std::string(name_of(chosen->command)) + "' does not take it"
                                      : "name the command first");
        }
        std::vector<std::string> known;
        for (const CLI::Option* option : (chosen != nullptr ? chosen->app : &app_)->get_options()) {
            for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
        }
        return "unknown flag '" + flag + "'" + config::hint(flag, known);
    }

    Result<Invocation> finish(const Named* chosen) {
        for (auto& [values, option] : booleans_) {
            for (const std::string& text : option->results()) values->push_back(text);
        }
        invocation_.command = chosen != nullptr ? chosen->command : Command::serve;
        invocation_.help = help_ || top_help_;
        invocation_.top_help = invocation_.help && chosen == nullptr;
        if (version_) invocation_.command = Command::version;
        if (!config_file_.empty()) invocation_.config_file = config_file_;
        const bool client = invocation_.command != Command::serve &&
                            invocation_.command != Command::config_check && invocation_.command != Command::doctor;
        for (CLI::App* app : {&app_, chosen != nullptr ? chosen->app : nullptr}) {
            if (app == nullptr) continue;
            for (const config::Key& key : config::keys()) {
                const auto found = values_[app].find(std::string(key.path));
                if (found == values_[app].end()) continue;
                for (std::string& value : found->second) {
                    if (client && !client_may_set(key.path)) {
                        return usage("'" + config::flag_of(key) + "' is a flag of serve; '" +
                                     std::string(name_of(invocation_.command)) +
                                     "' does not take it");
                    }
                    invocation_.settings.emplace_back(key.path, std::move(value));
                }
            }
        }
        if (invocation_.command == Command::config_check && !invocation_.argument.empty() && invocation_.config_file) {
            return usage("FILE and --config mean the same; give one of them");
        }
        if (invocation_.times != 0 && !invocation_.watch) return usage("--times goes with --watch");
        if (invocation_.defaults && invocation_.json) {
            return usage("--default prints a TOML file; it does not go with --json");
        }
        return std::move(invocation_);
    }

    [[nodiscard]] static tl::unexpected<Error> usage(std::string what) {
        return fail(Errc::invalid_argument, std::move(what));
    }

    CLI::App app_;
    Invocation invocation_;
    bool help_ = false;
    bool top_help_ = false;
    bool version_ = false;
    std::string config_file_;
    std::string ignored_;
    std::vector<Named> commands_;
    std::vector<CLI::App*> groups_;
    std::map<const CLI::App*, Store> values_;
    std::vector<std::pair<std::vector<std::string>*, CLI::Option*>> booleans_;
};

}  // namespace

std::string_view name_of(Command command) {
    switch (command) {
        case Command::serve: return "serve";
        case Command::status: return "status";
        case Command::peers: return "peers";
        case Command::blobs: return "blobs";
        case Command::blob: return "blob";
        case Command::join: return "join";
        case Command::leave: return "leave";
        case Command::drain: return "drain";
        case Command::verify: return "verify";
        case Command::pin: return "pin";
        case Command::unpin: return "unpin";
        case Command::key_show: return "key show";
        case Command::config_check: return "config check";
        case Command::doctor: return "doctor";
        case Command::bench: return "bench";
        case Command::version: return "version";
    }
    return "serve";
}

Result<Invocation> parse_arguments(std::span<const std::string> arguments) {
    try {
        return Parser().run(arguments);
    } catch (const std::exception& error) {
        return fail(Errc::invalid_argument, std::string("reading the command line: ") + error.what());
    }
}

}  // namespace fastreg::cli
