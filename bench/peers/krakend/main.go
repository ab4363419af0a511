// KrakenD's engine (Lura) with its gin router, as krakend-ce puts them together; CACHE=1 adds the response cache that
// krakend-httpcache uses.
package main

import (
	"context"
	"log"
	"net/http"
	"os"

	"github.com/gin-gonic/gin"
	"github.com/gregjones/httpcache"
	"github.com/luraproject/lura/v2/config"
	"github.com/luraproject/lura/v2/logging"
	"github.com/luraproject/lura/v2/proxy"
	router "github.com/luraproject/lura/v2/router/gin"
	"github.com/luraproject/lura/v2/transport/http/client"
	"github.com/luraproject/lura/v2/transport/http/server"
)

func main() {
	service, err := config.NewParser().Parse(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	logger, err := logging.NewLogger("ERROR", os.Stderr, "")
	if err != nil {
		log.Fatal(err)
	}
	gin.SetMode(gin.ReleaseMode)
	server.InitHTTPDefaultTransport(service)
	clients := client.NewHTTPClient
	if os.Getenv("CACHE") != "" {
		cached := &http.Client{Transport: &httpcache.Transport{
			Transport: http.DefaultTransport, Cache: httpcache.NewMemoryCache(), MarkCachedResponses: true,
		}}
		clients = func(context.Context) *http.Client { return cached }
	}
	backends := func(backend *config.Backend) proxy.Proxy {
		return proxy.NewHTTPProxy(backend, clients, backend.Decoder)
	}
	engine := gin.New()
	engine.RedirectTrailingSlash = true
	engine.HandleMethodNotAllowed = true
	factory := router.NewFactory(router.Config{
		Engine:         engine,
		ProxyFactory:   proxy.NewDefaultFactory(backends, logger),
		Logger:         logger,
		HandlerFactory: router.EndpointHandler,
		RunServer:      server.RunServer,
	})
	factory.New().Run(service)
}
