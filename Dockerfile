# syntax=docker/dockerfile:1

FROM rust:1.91-bookworm AS build
# zlib-ng, which pingora brings, needs cmake; the C compiler and make are in the image.
RUN apt-get update && apt-get install -y --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The cache mounts do not outlive the step, so the binary is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin cfx && cp target/release/cfx /cfx

FROM debian:bookworm-slim
# The roots by which upstreams with https are trusted.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin cfx \
    && install -d -o cfx -g cfx /app /app/data
COPY --from=build /cfx /usr/local/bin/cfx
COPY conf /app/conf
WORKDIR /app
ENV CFX_CONF=/app/conf CFX_DATA=/app/data
# Not root: container runtimes let any user bind ports 80 and 443 (net.ipv4.ip_unprivileged_port_start; docker-compose.yml
# sets it for those that do not).
USER 10001:10001
VOLUME /app/data
EXPOSE 80 443
ENTRYPOINT ["cfx"]
CMD ["run"]
