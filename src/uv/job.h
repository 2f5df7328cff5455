// A function to run once on another thread. Move-only, so that it can carry blocks and descriptors.
#pragma once

#include <concepts>
#include <memory>
#include <type_traits>
#include <utility>

namespace fastreg::uv {

class Job {
  public:
    Job() = default;
    template <class F>
        requires(!std::same_as<std::remove_cvref_t<F>, Job> && std::invocable<std::decay_t<F>&>)
    Job(F&& body)  // NOLINT(google-explicit-constructor): a lambda is a job
        : body_(std::make_unique<Body<std::decay_t<F>>>(std::forward<F>(body))) {}

    void operator()() const {
        if (body_) body_->run();
    }

  private:
    struct Base {
        Base() = default;
        Base(const Base&) = delete;
        Base& operator=(const Base&) = delete;
        virtual ~Base() = default;
        virtual void run() = 0;
    };
    template <class F>
    struct Body final : Base {
        template <class G>
        explicit Body(G&& g) : function(std::forward<G>(g)) {}
        void run() override { function(); }
        F function;
    };
    std::unique_ptr<Base> body_;
};

}  // namespace fastreg::uv
