// The distributor's own module, as `tests/run peers` builds it with main.go among its commands: what
// these need and no more. SQLite is ours; the formats are those of the distributor's main branch,
// since those of its last release know no vkeys of cosigners (type 0x04).
module github.com/transparency-dev/distributor

go 1.25.0

require (
	github.com/golang/glog v1.2.3
	github.com/gorilla/mux v1.8.1
	github.com/prometheus/client_golang v1.20.5
	github.com/transparency-dev/formats v0.1.1
	golang.org/x/mod v0.36.0
	google.golang.org/grpc v1.69.0
	gopkg.in/yaml.v3 v3.0.1
	modernc.org/sqlite v1.52.0
)

require (
	filippo.io/mldsa v0.0.0-20260215214346-43d0283efc3e // indirect
	github.com/beorn7/perks v1.0.1 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/dustin/go-humanize v1.0.1 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/prometheus/client_model v0.6.1 // indirect
	github.com/prometheus/common v0.55.0 // indirect
	github.com/prometheus/procfs v0.15.1 // indirect
	github.com/remyoudompheng/bigfft v0.0.0-20230129092748-24d4a6f8daec // indirect
	golang.org/x/crypto v0.52.0 // indirect
	golang.org/x/sys v0.45.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20241015192408-796eee8c2d53 // indirect
	google.golang.org/protobuf v1.35.1 // indirect
	modernc.org/libc v1.72.3 // indirect
	modernc.org/mathutil v1.7.1 // indirect
	modernc.org/memory v1.11.0 // indirect
)
