package main

import (
	"maps"
	"slices"

	"gantry/store"
)

// storeMetrics writes what the store has cost the disk, and what is in it.
func (g *Gateway) storeMetrics(m *metrics) {
	st := g.stored.Load()
	if st == nil {
		return
	}
	degraded := 0.0
	if g.health.degraded() {
		degraded = 1
	}
	m.one("gantry_store_degraded", gauge, "1 while a part of the store cannot be written.", degraded)
	written, flushes, commits := st.Costs()
	m.one("gantry_store_written_bytes_total", counter, "Bytes of pages that the store has written.", float64(written))
	m.one("gantry_store_flushes_total", counter, "Syncs of the store's files and directories.", float64(flushes))
	m.one("gantry_store_commits_total", counter, "Transactions of the store.", float64(commits))
	m.outboxes(st.Outboxes())
	m.tables(st.Tables())
}

func (m *metrics) outboxes(all map[string]*store.Outbox) {
	names := slices.Sorted(maps.Keys(all))
	for _, f := range []struct {
		name, kind, help string
		value            func(store.Status) float64
	}{
		{"gantry_outbox_records_total", counter, "Records that an outbox was given, ever.", func(s store.Status) float64 { return float64(s.Appended - s.Crashes) }},
		{"gantry_outbox_bytes", gauge, "Bytes of an outbox on disk.", func(s store.Status) float64 { return float64(s.Bytes) }},
		{"gantry_outbox_pending_bytes", gauge, "Bytes of an outbox that are not on disk yet.", func(s store.Status) float64 { return float64(s.Pending) }},
		{"gantry_outbox_files", gauge, "Files of an outbox.", func(s store.Status) float64 { return float64(s.Files) }},
	} {
		m.family(f.name, f.kind, f.help)
		for _, name := range names {
			m.value(f.value(all[name].Status()), "outbox", name)
		}
	}
	m.family("gantry_outbox_lost_total", counter, "Records that an outbox has lost or refused since the start.")
	for _, name := range names {
		losses := all[name].Losses()
		for _, reason := range slices.Sorted(maps.Keys(losses)) {
			m.value(float64(losses[reason]), "outbox", name, "reason", reason)
		}
	}
}

func (m *metrics) tables(all map[string]*store.Table) {
	for _, f := range []struct{ key, name, kind, help string }{
		{"entries", "gantry_table_entries", gauge, "Entries of a table."},
		{"bytes", "gantry_table_bytes", gauge, "Bytes of a table's keys and values."},
		{"changes", "gantry_table_changes_total", counter, "Changes of a table."},
		{"commits", "gantry_table_commits_total", counter, "Transactions of a table."},
		{"refused", "gantry_table_refused_total", counter, "Changes that a table's bound refused."},
		{"failing", "gantry_table_failing", gauge, "1 while a table cannot be written."},
	} {
		m.family(f.name, f.kind, f.help)
		for _, name := range slices.Sorted(maps.Keys(all)) {
			m.value(float64(all[name].Counters()[f.key]), "table", name)
		}
	}
}
