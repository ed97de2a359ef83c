// Answers at once, or after the milliseconds that ?ms= asks for.
const http = require("http");

http
  .createServer((request, response) => {
    const ms = Number(new URL(request.url, "http://localhost").searchParams.get("ms"));
    setTimeout(() => response.end("hello\n"), ms);
  })
  .listen(3000, "0.0.0.0");
