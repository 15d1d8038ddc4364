// A plain Node http server for the end-to-end tests: says where it listens, answers every path.
//
//   /status/503   that status
//   /bytes/1000   so many bytes
//   anything      "hello"
const http = require('http');

const server = http.createServer((request, response) => {
  request.resume();
  request.on('end', () => {
    const found = /\/(status|bytes)\/(\d+)$/.exec(new URL(request.url, 'http://node').pathname);
    if (found && found[1] === 'status') {
      response.writeHead(Number(found[2]));
      response.end();
    } else {
      response.end(found ? 'x'.repeat(Number(found[2])) : 'hello');
    }
  });
});
server.listen(0, '127.0.0.1', () => console.log(`listening on ${server.address().port}`));
