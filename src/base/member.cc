#include "base/member.h"

namespace fastreg {

std::string_view name_of(MemberState state) {
    switch (state) {
        case MemberState::alive: return "alive";
        case MemberState::suspect: return "suspect";
        case MemberState::stopping: return "stopping";
        case MemberState::dead: return "dead";
        case MemberState::left: return "left";
    }
    return "unknown";
}

}  // namespace fastreg
