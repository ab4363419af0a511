// The paths that every server here has; see app.py. Arguments: a file with key and certificate, or none for plain HTTP.
const crypto = require('crypto');
const fs = require('fs');
const zlib = require('zlib');

const asked = new WeakMap();
let sent = 0;
const bytes = (size) => Buffer.alloc(size, '0123456789abcdef');
const coders = { gzip: zlib.gzipSync, deflate: zlib.deflateSync, br: zlib.brotliCompressSync };

function answer(request, response) {
  const socket = request.socket;
  asked.set(socket, (asked.get(socket) || 0) + 1);
  const [, what, argument, second] = request.url.split('/');
  const number = Number(argument);
  if (what === 'body') {
    response.setHeader('content-length', number);
    response.end(bytes(number));
  } else if (what === 'chunked') {
    response.write(bytes(1));
    response.end(bytes(number).subarray(1));
  } else if (what === 'trailers') {
    response.setHeader('trailer', 'x-sum');
    response.write('hel');
    response.addTrailers({ 'x-sum': '1' });
    response.end('lo');
  } else if (what === 'until-close') {
    response.removeHeader('transfer-encoding');
    response.write(bytes(1));
    response.end(bytes(number).subarray(1));
  } else if (what === 'status') {
    response.statusCode = number;
    response.end();
  } else if (what === 'early') {
    response.writeEarlyHints({ link: '</a>; rel=preload' });
    response.end('hello');
  } else if (what === 'coded' && coders[argument]) {
    response.setHeader('content-encoding', argument);
    response.end(coders[argument](bytes(100000)));
  } else if (what === 'headers') {
    for (let at = 0; at < number; at += 1) response.setHeader(`x-${at}`, 'y'.repeat(Number(second)));
    response.end('hello');
  } else if (what === 'echo') {
    request.pipe(response);
  } else if (what === 'hash') {
    const hash = crypto.createHash('sha256');
    request.on('data', (piece) => hash.update(piece));
    request.on('end', () => response.end(hash.digest('hex')));
  } else if (what === 'count') {
    response.end(String(asked.get(socket)));
  } else if (what === 'sent') {
    response.end(String(sent));
  } else if (what === 'endless') {
    sent = 0;
    const piece = bytes(65536);
    const more = () => {
      while (sent < 1024 * 65536 && !response.destroyed) {
        sent += piece.length;
        if (!response.write(piece)) { response.once('drain', more); return; }
      }
      response.end();
    };
    more();
  } else if (what === 'bye') {
    response.end('bye', () => setImmediate(() => socket.destroy()));
  } else {
    response.statusCode = 404;
    response.end();
  }
}

const file = process.argv[2];
const pem = file && fs.readFileSync(file);
const options = { keepAliveTimeout: 60000 };
const server = file
  ? require('https').createServer({ ...options, key: pem, cert: pem, ALPNProtocols: ['http/1.1'] }, answer)
  : require('http').createServer(options, answer);
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
