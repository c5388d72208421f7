// Node's own server: it tells what it was given. `/premium/x` has a handler of its own.
const http = require("node:http");

const server = http.createServer((request, response) => {
  const url = new URL(request.url, "http://origin");
  if (decodeURIComponent(url.pathname) === "/premium/x") {
    response.end("the premium handler");
    return;
  }
  const fields = Object.entries(request.headers).map(([name, value]) => [name, String(value)]);
  response.end(JSON.stringify({ path: url.pathname, fields }));
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
