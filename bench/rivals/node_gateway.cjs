// A gateway as one would write it on Node: `node node_gateway.cjs PORT UPSTREAM STREAMS CALLS_PER_S`.
"use strict";

const { createHash } = require("node:crypto");
const http = require("node:http");
const { createProxyMiddleware } = require("http-proxy-middleware");

const [port, upstream, streams, callsPerSecond] = process.argv.slice(2).map(Number);
const sha256 = (text) => createHash("sha256").update(text).digest("hex");
const accounts = new Map([[sha256(process.env.BENCH_KEY), "acct_1"]]);
const counters = new Map();
const agent = new http.Agent({ keepAlive: true, maxSockets: 512, maxFreeSockets: 512 });

const proxyTo = (target) =>
  createProxyMiddleware({ target: `http://127.0.0.1:${target}`, agent, xfwd: true });
const toOrigin = proxyTo(upstream);
const toStreams = proxyTo(streams);

// 0 when the call may pass, else the status of the refusal.
function refusal(request) {
  const account = accounts.get(sha256(request.headers["x-api-key"] || ""));
  if (account === undefined) return 401;
  const second = Math.floor(Date.now() / 1000);
  const counter = counters.get(account);
  if (counter === undefined || counter.second !== second) {
    counters.set(account, { second, calls: 1 });
    return 0;
  }
  counter.calls += 1;
  return counter.calls > callsPerSecond ? 429 : 0;
}

const server = http.createServer({ keepAliveTimeout: 600_000 }, (request, response) => {
  const status = refusal(request);
  if (status) {
    response.writeHead(status).end();
    return;
  }
  const proxy = request.url.startsWith("/streams/") ? toStreams : toOrigin;
  proxy(request, response, () => response.writeHead(404).end());
});
server.on("upgrade", (request, socket, head) => {
  if (refusal(request)) socket.destroy();
  else toStreams.upgrade(request, socket, head);
});
server.listen({ port, host: "127.0.0.1", backlog: 1024 });
