// Offers requests at a rate, whatever becomes of them: ADDRESS PATH RATE SECONDS CONNECTIONS. Tells the outcome as JSON.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

type outcome struct {
	good, refused, failed int
	seconds               []float64
}

var number atomic.Int64

func main() {
	address, path := os.Args[1], os.Args[2]
	rate, _ := strconv.ParseFloat(os.Args[3], 64)
	seconds, _ := strconv.ParseFloat(os.Args[4], 64)
	connections, _ := strconv.Atoi(os.Args[5])
	interval := time.Duration(float64(connections) / rate * float64(time.Second))
	until := time.Now().Add(time.Duration(seconds * float64(time.Second)))
	number.Store(time.Now().UnixNano() / 1000)
	outcomes := make([]outcome, connections)
	var all sync.WaitGroup
	for n := range outcomes {
		all.Add(1)
		go func() { defer all.Done(); offer(address, path, interval, until, &outcomes[n]) }()
	}
	all.Wait()
	total := outcome{}
	for _, one := range outcomes {
		total.good += one.good
		total.refused += one.refused
		total.failed += one.failed
		total.seconds = append(total.seconds, one.seconds...)
	}
	sort.Float64s(total.seconds)
	at := func(share float64) float64 {
		if len(total.seconds) == 0 {
			return 0
		}
		return total.seconds[int(share*float64(len(total.seconds)-1))] * 1000
	}
	json.NewEncoder(os.Stdout).Encode(map[string]any{
		"good": total.good, "refused": total.refused, "failed": total.failed, "seconds": seconds,
		"p50": at(0.5), "p99": at(0.99),
	})
}

func offer(address, path string, interval time.Duration, until time.Time, told *outcome) {
	next := time.Now().Add(time.Duration(rand.Float64() * float64(interval)))
	var connection net.Conn
	var reader *bufio.Reader
	for {
		time.Sleep(time.Until(next))
		sent := time.Now()
		if sent.After(until) {
			return
		}
		next = next.Add(interval)
		if next.Before(sent) {
			next = sent // what it is late by is not made up for
		}
		if connection == nil {
			opened, err := net.DialTimeout("tcp", address, time.Second)
			if err != nil {
				told.failed++
				continue
			}
			connection, reader = opened, bufio.NewReaderSize(opened, 16384)
		}
		connection.SetDeadline(sent.Add(10 * time.Second))
		fmt.Fprintf(connection, "GET "+path+" HTTP/1.1\r\nhost: bench\r\n\r\n", number.Add(1))
		status, err := answer(reader)
		switch {
		case err != nil:
			told.failed++
			connection.Close()
			connection = nil
		case status == "200":
			told.good++
			told.seconds = append(told.seconds, time.Since(sent).Seconds())
		default:
			told.refused++
		}
	}
}

func answer(reader *bufio.Reader) (string, error) {
	line, err := reader.ReadString('\n')
	if err != nil || len(line) < 12 {
		return "", io.ErrUnexpectedEOF
	}
	status, length := line[9:12], 0
	for {
		line, err = reader.ReadString('\n')
		if err != nil {
			return "", err
		}
		if line == "\r\n" {
			break
		}
		if name, value, _ := strings.Cut(line, ":"); strings.EqualFold(name, "content-length") {
			length, _ = strconv.Atoi(strings.TrimSpace(value))
		}
	}
	_, err = reader.Discard(length)
	return status, err
}
