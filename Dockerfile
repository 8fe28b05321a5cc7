# syntax=docker/dockerfile:1

# The compiler that pgo/ was made with: with another, the profile is of no use.
FROM rust:1.95.0-bookworm AS build
# cmake: zlib-ng, which pingora brings, is built with it. xz-utils: what the profile is packed with. busybox-static: what asks for
# the container's health.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends busybox-static cmake xz-utils && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The cache mounts do not outlive the step, so the binary is copied out of them. Function names stay for backtraces; line
# tables are four fifths of the file.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    scripts/release-build && \
    strip --strip-debug -o /cfx target/release/cfx
# The whole image: the binary, the libraries it names, the roots by which upstreams with https are trusted. No shell, no
# package manager. `wget` is there for the health check alone.
RUN scripts/image-tree /cfx /tree

FROM scratch
COPY --from=build /tree /
# The one folder that is written to: rows that wait for the store, and without DATABASE_URL all there is.
COPY --from=build --chown=10001:10001 /tree/app/data /app/data
WORKDIR /app
ENV PATH=/usr/local/bin:/bin CFX_CONF=/app/conf CFX_DATA=/app/data
# Not root: container runtimes let any user bind ports 80 and 443 (net.ipv4.ip_unprivileged_port_start; docker-compose.yml
# sets it for those that do not).
USER 10001:10001
VOLUME /app/data
EXPOSE 80 443
# On the port of conf/cfx.yaml's first entrypoint. It answers while the edge stops, too: readiness is /ready.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["/bin/wget", "-q", "-O", "/dev/null", "http://127.0.0.1/health"]
ENTRYPOINT ["/usr/local/bin/cfx"]
CMD ["run"]
