// serve and config check: a configuration, and what is done with it.
#include <ostream>

#include "base/log.h"
#include "cli/commands.h"
#include "cli/json_view.h"
#include "cli/sources.h"
#include "cli/table.h"
#include "config/keys.h"
#include "node/data_dir.h"
#include "node/key_file.h"
#include "node/run.h"

namespace fastreg::cli {
namespace {

void complain_lines(const Console& console, std::string_view lines) {
    while (!lines.empty()) {
        const auto end = lines.find('\n');
        console.complain(lines.substr(0, end));
        lines = end == std::string_view::npos ? std::string_view{} : lines.substr(end + 1);
    }
}

}  // namespace

Exit serve(const Invocation& invocation, const Console& console) {
    const auto sources = gather(invocation);
    if (!sources) {
        console.complain(describe(sources.error()));
        return Exit::usage;
    }
    const auto config = config::load(*sources);
    if (!config) {
        complain_lines(console, config.error().what);
        return Exit::usage;
    }
    log::start(config->log.level, config->log.format);
    if (const auto made = node::prepare_data_dir(config->data_dir); !made) {
        console.complain(describe(node::explain_full(config->data_dir, made.error())));
        return Exit::failed;
    }
    if (const auto key = node::load_or_make_key(*config); !key) {
        console.complain(describe(node::explain_full(config->data_dir, key.error())));
        // A key that is missing or malformed is for the operator to mend, like a flag.
        const Errc code = key.error().code;
        const bool usage = code == Errc::not_found || code == Errc::invalid_argument;
        return usage ? Exit::usage : Exit::failed;
    }
    const auto reread = [&invocation]() -> Result<config::Config> {
        FR_TRY_ASSIGN(const auto again, gather(invocation));
        return config::load(again);
    };
    const auto served = node::run(*config, reread);
    if (served) return Exit::done;
    console.complain(describe(node::explain_full(config->data_dir, served.error())));
    return served.error().code == Errc::invalid_argument ? Exit::usage : Exit::failed;
}

Exit check_config(const Invocation& invocation, const Console& console) {
    if (invocation.defaults) {
        console.out << config::default_file();
        return Exit::done;
    }
    Invocation with_file = invocation;
    if (!invocation.argument.empty()) with_file.config_file = invocation.argument;
    const auto sources = gather(with_file);
    const auto loaded = sources ? config::load_with_origins(*sources)
                                : Result<config::Loaded>(tl::unexpect, sources.error());
    if (!loaded) {
        const std::string what = sources ? loaded.error().what : describe(sources.error());
        if (invocation.json) {
            Json problems = Json::array();
            for (std::string_view rest = what; !rest.empty();) {
                const auto end = rest.find('\n');
                problems.push_back(std::string(rest.substr(0, end)));
                rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
            }
            console.out << pretty(Json{{"valid", false}, {"problems", problems}}) << '\n';
        } else {
            complain_lines(console, what);
        }
        return Exit::failed;
    }
    if (invocation.json) {
        Json all = Json::object();
        for (const config::Key& key : config::keys()) {
            all[std::string(key.path)] = {
                {"value", config::print(key, loaded->config)},
                {"from", std::string(name_of(loaded->origins.find(key.path)->second))}};
        }
        console.out << pretty(Json{{"valid", true}, {"file", sources->file_name}, {"keys", all}})
                    << '\n';
        return Exit::done;
    }
    Table table({{"KEY", false, 0, 0}, {"VALUE", false, 16, 0}, {"FROM", false, 0, 1}});
    for (const config::Key& key : config::keys()) {
        const config::Origin origin = loaded->origins.find(key.path)->second;
        const std::string value = safe(config::print(key, loaded->config));
        table.add({{std::string(key.path)},
                   {value.empty() ? "-" : value},
                   {std::string(name_of(origin)),
                    origin == config::Origin::built_in ? Style::dim : Style::good}});
    }
    table.print(console);
    console.out << (sources->file_text ? sources->file_name + " is fine\n"
                                       : "no file was read; the configuration is fine\n");
    return Exit::done;
}

}  // namespace fastreg::cli
