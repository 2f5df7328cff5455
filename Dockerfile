# FastReg in a container, with chunks over TCP; Dockerfile.rdma has what RDMA needs. docs/OPERATIONS.md, "Containers".
#
#   docker build -t fastreg .
#   docker run -d -p 8080:8080 -v fastreg:/var/lib/fastreg fastreg

FROM debian:bookworm-slim AS runtime
# What `ldd fastreg` names, by Debian's packages. Both images have the same program, so the RDMA libraries are linked
# here too; without a provider they find no device.
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      libfmt9 libibverbs1 librdmacm1 libspdlog1.10 libsqlite3-0 libssl3 libstdc++6 libuv1 libxxhash0 \
 && rm -rf /var/lib/apt/lists/*
# The number is fixed, so that a directory of the host can be given to it: chown 10001:10001 DIR.
RUN groupadd --gid 10001 fastreg \
 && useradd --uid 10001 --gid 10001 --home-dir /var/lib/fastreg --no-create-home --shell /usr/sbin/nologin fastreg \
 && install -d -o fastreg -g fastreg -m 0750 /var/lib/fastreg
COPY LICENSE /usr/share/doc/fastreg/
ENV FASTREG_DATA_DIR=/var/lib/fastreg
USER fastreg
VOLUME /var/lib/fastreg
EXPOSE 8080 7946 7947
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["/usr/local/bin/fastreg", "status"]
ENTRYPOINT ["/usr/local/bin/fastreg"]

FROM debian:bookworm-slim AS build
WORKDIR /src
COPY tools/packages tools/
RUN bash -c '. tools/packages && install_packages $packages_build'
COPY meson.build meson_options.txt ./
COPY subprojects subprojects
COPY tools/build tools/
COPY src src
RUN tools/build release && strip --strip-debug -o /fastreg build/release/fastreg

FROM runtime
COPY --from=build /fastreg /usr/local/bin/fastreg
