# The coordinator; docker-compose.yml shows it at work. It needs REDIS_URLS, and refuses to start without:
# in-process nodes in production would lose data quietly. To be reached from outside of the container it
# needs HOST=0.0.0.0, and with that DATA_TOKEN and ADMIN_TOKEN, or ALLOW_INSECURE=true.
#
# The base is an exact version, but a tag can be moved. Who publishes the image pins the digest:
#
#   docker buildx imagetools inspect node:24.21.0-bookworm-slim --format '{{.Manifest.Digest}}'
#   docker build --build-arg NODE_IMAGE=node:24.21.0-bookworm-slim@sha256:<that digest> -t rondo .
ARG NODE_IMAGE=node:24.21.0-bookworm-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY scripts ./scripts
COPY src ./src
RUN npm run build

FROM ${NODE_IMAGE} AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts

FROM ${NODE_IMAGE}
# A load balancer needs a while to notice a coordinator that is about to stop.
ENV NODE_ENV=production RONDO_IMAGE=true SHUTDOWN_DELAY_SECONDS=5
WORKDIR /app
# Owned by root and read by all: the process cannot change its own program.
COPY package.json ./
COPY --from=dependencies /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
USER node
EXPOSE 8080 6390
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
  CMD ["node", "dist/health-check.js"]
CMD ["node", "dist/main.js"]
