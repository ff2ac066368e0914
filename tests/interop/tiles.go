package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
)

// tileSource reads tiles for tlog.TileHashReader, which checks each against the root hash.
type tileSource struct {
	ctx    context.Context
	client *client
	cache  map[tlog.Tile][]byte
}

var _ tlog.TileReader = (*tileSource)(nil)

func newTileSource(ctx context.Context, c *client) *tileSource {
	return &tileSource{ctx: ctx, client: c, cache: map[tlog.Tile][]byte{}}
}

func (s *tileSource) Height() int { return tileHeight }

// SaveTiles is told which tiles have been verified; within one run they need no second fetch.
func (s *tileSource) SaveTiles(tiles []tlog.Tile, data [][]byte) {
	for i, tile := range tiles {
		s.cache[tile] = data[i]
	}
}

func (s *tileSource) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(tiles))
	for i, tile := range tiles {
		if cached, ok := s.cache[tile]; ok {
			data[i] = cached
			continue
		}
		var err error
		if data[i], err = s.fetch(tile); err != nil {
			return nil, err
		}
	}
	return data, nil
}

func (s *tileSource) fetch(tile tlog.Tile) ([]byte, error) {
	a, err := s.client.get(s.ctx, tilePath(fmt.Sprint(tile.L), tile.N, tile.W))
	if err != nil {
		return nil, err
	}
	err = errors.Join(a.want(200), a.wantType("application/octet-stream"), a.wantImmutable())
	if err != nil {
		return nil, err
	}
	if want := tile.W * tlog.HashSize; len(a.body) != want {
		return nil, fmt.Errorf("%s: %d bytes, want %d", a.request, len(a.body), want)
	}
	return a.body, nil
}

// tilePath is a path of c2sp.org/tlog-tiles: the index in groups of three digits, all but the last
// of which begin with x.
func tilePath(level string, index int64, width int) string {
	path := fmt.Sprintf("%03d", index%1000)
	for index /= 1000; index > 0; index /= 1000 {
		path = fmt.Sprintf("x%03d/%s", index%1000, path)
	}
	path = "/tile/" + level + "/" + path
	if width < tileWidth {
		path += fmt.Sprintf(".p/%d", width)
	}
	return path
}

// entries fetches every entry bundle of a tree of that size.
func entries(ctx context.Context, c *client, size int64) ([][]byte, error) {
	all := make([][]byte, 0, size)
	for index := int64(0); index*tileWidth < size; index++ {
		width := int(min(size-index*tileWidth, tileWidth))
		path := tilePath("entries", index, width)
		a, err := c.get(ctx, path, "Accept-Encoding", "gzip")
		if err != nil {
			return nil, err
		}
		err = errors.Join(a.want(200), a.wantType("application/octet-stream"), a.wantImmutable())
		if err != nil {
			return nil, err
		}
		if !a.compressed {
			return nil, fmt.Errorf("%s: Accept-Encoding: gzip was given, no gzip came", a.request)
		}
		bundle, err := parseBundle(a.body, width)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a.request, err)
		}
		all = append(all, bundle...)
	}
	return all, nil
}

// parseBundle splits a sequence of entries, each behind its length as a big-endian uint16.
func parseBundle(data []byte, width int) ([][]byte, error) {
	const prefix = 2
	var bundle [][]byte
	for len(data) > 0 {
		if len(data) < prefix {
			return nil, fmt.Errorf("entry %d: half a length", len(bundle))
		}
		length := int(binary.BigEndian.Uint16(data))
		if data = data[prefix:]; len(data) < length {
			return nil, fmt.Errorf("entry %d: %d of %d bytes", len(bundle), len(data), length)
		}
		bundle = append(bundle, data[:length])
		data = data[length:]
	}
	if len(bundle) != width {
		return nil, fmt.Errorf("bundle has %d entries, want %d", len(bundle), width)
	}
	return bundle, nil
}
