// The first of four hops: asks the next one, and answers.
'use strict';
const http = require('http');
const [port, next] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true });

http.createServer((request, response) => {
  http.get({ agent, port: next, path: '/basket/17' }, (answer) => answer.pipe(response));
}).listen(Number(port), '127.0.0.1');
