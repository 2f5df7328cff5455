#include "node/run.h"

namespace fastreg::node {

Status run(const config::Config& config) {
    return fail(Errc::unsupported,
                "serving from " + config.data_dir + ": this build has no node in it");
}

}  // namespace fastreg::node
