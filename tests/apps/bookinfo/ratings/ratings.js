// How many stars a book has.
const http = require('http');

http.createServer((request, response) => {
  const known = request.url.startsWith('/ratings/') || request.url === '/health';
  const body = JSON.stringify(known ? { id: request.url.split('/').pop(), stars: [5, 4] } : { error: 'no such path' });
  response.writeHead(known ? 200 : 404, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
  response.end(body);
}).listen(9080);
