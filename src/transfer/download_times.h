// Times that more than one part of a download keeps to.
#pragma once

#include "base/instant.h"

namespace fastreg::transfer {

inline constexpr Duration kChainWithin = 400ms;    // a ChainRequest
inline constexpr Duration kRedial = 1s;
inline constexpr Duration kRedialNotHere = 30s;

}  // namespace fastreg::transfer
