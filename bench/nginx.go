package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
)

// nginxHead is what all of our nginx processes have in common; HTTP stands for
// what differs.
const nginxHead = `
daemon off;
worker_processes auto;
pid DIR/pid;
error_log stderr;
events { worker_connections 4096; }
http {
  sendfile on;
  aio off;
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path DIR/body;
  proxy_temp_path DIR/proxy;
  fastcgi_temp_path DIR/fastcgi;
  uwsgi_temp_path DIR/uwsgi;
  scgi_temp_path DIR/scgi;
  default_type TYPE;
HTTP
}
`

// startNginx serves the content as files.
func (b *bench) startNginx(ctx context.Context) (*process, error) {
	return b.startNginxWith(ctx, b.newName("nginx"), "server { listen ADDR; root ROOT; }", nil)
}

// startNginxWith starts nginx in a directory of its own, with a block for http in
// which ADDR is the address, DIR that directory and ROOT one below it that has
// the content as files. A pair says that it serves TLS.
func (b *bench) startNginxWith(ctx context.Context, dir, block string, pair *keyPair) (*process, error) {
	root := filepath.Join(dir, "root")
	if err := b.content.tree(root); err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	text := strings.Replace(nginxHead, "HTTP", block, 1)
	text = strings.NewReplacer("DIR", dir, "ROOT", root, "ADDR", addr, "TYPE", typeManifest).Replace(text)
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return nil, err
	}
	return process{addr: addr, pair: pair, log: dir + ".log"}.start(ctx, nil, b.bin["nginx"], "-p", dir, "-c", conf, "-e", "stderr")
}

// startNginxCache starts nginx as an empty cache in front of an upstream. It
// fetches what is missing once at a time, and lets those who come second wait
// until that is finished.
func (b *bench) startNginxCache(ctx context.Context, dir, upstream string) (*process, error) {
	return b.startNginxWith(ctx, dir, strings.ReplaceAll(`
  proxy_cache_path DIR/cache keys_zone=blobs:10m max_size=8g use_temp_path=off;
  server {
    listen ADDR;
    location / {
      proxy_pass http://UPSTREAM;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_max_temp_file_size 0;
      proxy_cache blobs;
      proxy_cache_key $uri;
      proxy_cache_valid 200 1h;
      proxy_cache_lock on;
      proxy_cache_lock_timeout 60s;
      proxy_cache_lock_age 60s;
    }
  }`, "UPSTREAM", upstream), nil)
}
