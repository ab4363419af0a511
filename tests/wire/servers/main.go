// The paths that every server here has; see app.py. Arguments: a file with key and certificate, or none for plain HTTP.
package main

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

type connection struct {
	count atomic.Int64
	bye   atomic.Bool
}

type key struct{}

var sent atomic.Int64
var connections sync.Map

func body(size int) []byte {
	return bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
}

func answer(w http.ResponseWriter, r *http.Request) {
	state := r.Context().Value(key{}).(*connection)
	count := state.count.Add(1)
	parts := append(strings.Split(r.URL.Path, "/"), "", "")
	number, _ := strconv.Atoi(parts[2])
	w.Header().Set("Content-Type", "application/octet-stream")
	flush := func() { _ = http.NewResponseController(w).Flush() }
	switch parts[1] {
	case "body":
		w.Header().Set("Content-Length", parts[2])
		w.Write(body(number))
	case "chunked":
		w.Write(body(1))
		flush()
		w.Write(body(number)[1:])
	case "trailers":
		w.Header().Set("Trailer", "x-sum")
		io.WriteString(w, "hel")
		flush()
		io.WriteString(w, "lo")
		w.Header().Set("x-sum", "1")
	case "until-close":
		w.Header().Set("Transfer-Encoding", "identity")
		w.Write(body(1))
		flush()
		w.Write(body(number)[1:])
	case "status":
		w.WriteHeader(number)
	case "early":
		w.Header().Set("Link", "</a>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		io.WriteString(w, "hello")
	case "coded":
		var coder io.WriteCloser
		if parts[2] == "gzip" {
			coder = gzip.NewWriter(w)
		} else if parts[2] == "deflate" {
			coder = zlib.NewWriter(w)
		} else {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Encoding", parts[2])
		coder.Write(body(100000))
		coder.Close()
	case "headers":
		size, _ := strconv.Atoi(parts[3])
		for at := 0; at < number; at++ {
			w.Header().Set(fmt.Sprintf("x-%d", at), strings.Repeat("y", size))
		}
		io.WriteString(w, "hello")
	case "echo":
		_ = http.NewResponseController(w).EnableFullDuplex()
		io.Copy(w, r.Body)
	case "hash":
		hash := sha256.New()
		io.Copy(hash, r.Body)
		fmt.Fprintf(w, "%x", hash.Sum(nil))
	case "count":
		fmt.Fprint(w, count)
	case "sent":
		fmt.Fprint(w, sent.Load())
	case "endless":
		sent.Store(0)
		for piece := body(65536); sent.Load() < 1024*65536; sent.Add(int64(len(piece))) {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	case "bye":
		state.bye.Store(true)
		io.WriteString(w, "bye")
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	server := &http.Server{
		Handler: http.HandlerFunc(answer),
		ConnContext: func(c context.Context, conn net.Conn) context.Context {
			state := &connection{}
			connections.Store(conn, state)
			return context.WithValue(c, key{}, state)
		},
		ConnState: func(conn net.Conn, now http.ConnState) {
			if state, ok := connections.Load(conn); ok && now == http.StateIdle && state.(*connection).bye.Load() {
				conn.Close()
			}
		},
	}
	if len(os.Args) > 1 {
		log.Fatal(server.ServeTLS(listener, os.Args[1], os.Args[1]))
	}
	log.Fatal(server.Serve(listener))
}
