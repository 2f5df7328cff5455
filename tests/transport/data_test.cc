// The conformance suite over the fake and over TCP.
#include "conformance.h"
#include "transport/data_fake.h"
#include "transport/tcp/transport.h"
#include "uv/loop_thread.h"

namespace fastreg::transport::test {
namespace {

class FakeWorld {
  public:
    FakeWorld()
        : network_([this](std::function<void()> job) { loop_.post(std::move(job)); }),
          ta_(std::make_unique<FakeDataTransport>(network_, node(1), a_.events)),
          tb_(std::make_unique<FakeDataTransport>(network_, node(2), b_.events)) {
        a_.id = node(1);
        a_.transport = ta_.get();
        b_.id = node(2);
        b_.transport = tb_.get();
    }
    uv::Loop& loop() { return loop_; }
    Side& a() { return a_; }
    Side& b() { return b_; }
    void lose_b() { tb_.reset(); }
    void warm() {}
    [[nodiscard]] static int blocks_of_a_big_chunk() { return 16; }
    void check_used() {}

  private:
    uv::Loop loop_;
    Side a_;
    Side b_;
    FakeDataNetwork network_;
    std::unique_ptr<FakeDataTransport> ta_;
    std::unique_ptr<FakeDataTransport> tb_;
};

class TcpWorld {
  public:
    TcpWorld()
        : ta_(make(1, a_)), tb_(make(2, b_)) {}
    uv::Loop& loop() { return loop_; }
    Side& a() { return a_; }
    Side& b() { return b_; }
    void lose_b() { tb_.reset(); }
    void warm() {}
    [[nodiscard]] static int blocks_of_a_big_chunk() { return 16; }
    void check_used() {}

  private:
    std::unique_ptr<TcpTransport> make(unsigned number, Side& side) {
        TcpTransport::Options options;
        options.identity = identity(number);
        options.listen = {"127.0.0.1", 0};
        options.threads = {&io1_, &io2_};
        options.connect_timeout = 30s;
        options.handshake_timeout = 30s;
        options.own_blocks = 8;  // far fewer than the chunks in flight
        auto made = std::make_unique<TcpTransport>(loop_, options, side.events);
        const auto port = made->listen();
        REQUIRE(port);
        side.id = options.identity.node_id;
        side.address = {"127.0.0.1", *port};
        side.transport = made.get();
        return made;
    }

    uv::Loop loop_;
    uv::LoopThread io1_{"io1"};
    uv::LoopThread io2_{"io2"};
    Side a_;
    Side b_;
    std::unique_ptr<TcpTransport> ta_;
    std::unique_ptr<TcpTransport> tb_;
};

TEST_CASE("the fake keeps the promises of a bulk transport") {
    // The transfer core is tested over the fake: where it differs from TCP those tests prove nothing.
    check_data_transport<FakeWorld>();
}

TEST_CASE("TCP keeps the promises of a bulk transport") {
    // The same stories over real sockets and two io threads.
    check_data_transport<TcpWorld>();
}

}  // namespace
}  // namespace fastreg::transport::test
