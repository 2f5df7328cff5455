// The bounded map: what it forgets, and when.
#include "base/recent.h"

#include <doctest/doctest.h>

#include <string>

using namespace fastreg;

TEST_CASE("what was longest not used is forgotten first") {
    Recent<std::string, int> recent(2);
    recent.put("a", 1);
    recent.put("b", 2);
    REQUIRE(recent.find("a") != nullptr);  // used: b is the older one now
    recent.put("c", 3);
    CHECK(recent.find("b") == nullptr);
    REQUIRE(recent.find("a") != nullptr);
    CHECK(*recent.find("a") == 1);
    CHECK(recent.size() == 2);
}

TEST_CASE("an entry may cost more than one, and the newest is kept whatever it costs") {
    Recent<int, int> recent(10);
    recent.put(1, 1, 4);
    recent.put(2, 2, 4);
    recent.put(3, 3, 100);
    CHECK(recent.size() == 1);
    REQUIRE(recent.find(3) != nullptr);
    recent.put(4, 4, 4);
    CHECK(recent.find(3) == nullptr);
    CHECK(recent.find(4) != nullptr);
}

TEST_CASE("what is put again is counted once, and what is erased no more") {
    Recent<int, int> recent(10);
    for (int i = 0; i < 5; ++i) recent.put(1, i, 6);
    CHECK(*recent.find(1) == 4);
    recent.erase(1);
    recent.erase(1);
    recent.put(2, 2, 5);
    recent.put(3, 3, 5);
    CHECK(recent.size() == 2);
}
