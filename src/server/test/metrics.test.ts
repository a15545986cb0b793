/** /metrics of a member with a disk: what dashboards made for etcd look for, with values that are true. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { bytes, startServed } from "./wire.ts";

void test("Metrics have etcd's names, types and true values", async (context) => {
  const directory = await mkdtemp(path.join(tmpdir(), "d-engine-metrics-"));
  context.after(() => rm(directory, { recursive: true, force: true }));
  const { address, client, engine } = await startServed(context, {}, { dataDir: path.join(directory, "data") });
  const value = new Uint8Array(1_000);
  for (let i = 0; i < 20; i++) await client.call("etcdserverpb.KV", "Put", { key: bytes(`k${i}`), value });
  await client.call("etcdserverpb.KV", "Compact", { revision: 5 });
  const text = await (await fetch(`http://${address}/metrics`)).text();
  const { dataBytes, dataBytesMax, diskBytes } = await engine.maintenance.status();
  const read = (name: string, labels = ""): number => {
    const line = text.split("\n").find((each) => each.startsWith(`${name}${labels} `));
    assert.ok(line !== undefined, `${name}${labels} is missing`);
    return Number(line.split(" ").at(-1));
  };
  const types: readonly (readonly [string, "gauge" | "counter" | "histogram"])[] = [
    ["etcd_server_has_leader", "gauge"],
    ["etcd_server_leader_changes_seen_total", "counter"],
    ["etcd_server_proposals_committed_total", "gauge"],
    ["etcd_server_proposals_applied_total", "gauge"],
    ["etcd_server_proposals_pending", "gauge"],
    ["etcd_server_proposals_failed_total", "counter"],
    ["etcd_mvcc_db_total_size_in_bytes", "gauge"],
    ["etcd_mvcc_db_total_size_in_use_in_bytes", "gauge"],
    ["etcd_disk_wal_fsync_duration_seconds", "histogram"],
    ["etcd_disk_backend_commit_duration_seconds", "histogram"],
    ["etcd_network_client_grpc_received_bytes_total", "counter"],
    ["etcd_network_client_grpc_sent_bytes_total", "counter"],
    ["grpc_server_started_total", "counter"],
    ["grpc_server_handled_total", "counter"],
    ["process_cpu_seconds_total", "counter"],
    ["process_resident_memory_bytes", "gauge"],
  ];
  for (const [name, type] of types) assert.ok(text.includes(`# TYPE ${name} ${type}\n`), name);
  assert.equal(read("etcd_server_has_leader"), 1);
  assert.equal(read("etcd_server_leader_changes_seen_total"), 1);
  assert.equal(read("etcd_server_proposals_pending"), 0);
  assert.equal(read("etcd_server_proposals_failed_total"), 0);
  assert.ok(read("etcd_server_proposals_committed_total") >= 21);
  assert.equal(read("etcd_mvcc_db_total_size_in_bytes"), dataBytes);
  assert.equal(read("etcd_mvcc_db_total_size_in_use_in_bytes"), dataBytes);
  assert.equal(read("etcd_server_quota_backend_bytes"), dataBytesMax);
  assert.ok(diskBytes > 20_000 && read("d_engine_disk_bytes") > 20_000);
  assert.equal(read("etcd_debugging_mvcc_keys_total"), 20);
  assert.equal(read("etcd_debugging_mvcc_compact_revision"), 5);
  const fsync = "etcd_disk_wal_fsync_duration_seconds";
  const count = read(`${fsync}_count`);
  assert.ok(count >= 21, "each write waited for a sync");
  assert.equal(read(`${fsync}_bucket`, '{le="+Inf"}'), count);
  assert.ok(read(`${fsync}_bucket`, '{le="0.001"}') <= read(`${fsync}_bucket`, '{le="0.002"}'));
  assert.ok(read(`${fsync}_sum`) > 0);
  assert.ok(read("etcd_network_client_grpc_received_bytes_total") > 20_000);
  const put = '{grpc_type="unary",grpc_service="etcdserverpb.KV",grpc_method="Put"';
  assert.equal(read("grpc_server_started_total", `${put}}`), 20);
  assert.equal(read("grpc_server_handled_total", `${put},grpc_code="OK"}`), 20);
});
