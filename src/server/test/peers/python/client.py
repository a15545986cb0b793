"""Uses a server as programs in Python do, through the package `etcd3` (over grpcio). Exits with 1 and a line that says what went wrong.

    client.py HOST:PORT
    client.py gateway HOST:PORT

The second uses the other package of the same name, etcd3-py, which speaks JSON to the gateway; it must be found first.
"""
import io
import os
import queue
import sys
import threading

# The messages that the package carries were generated for an older protobuf, and work with its own in Python.
os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")

import etcd3  # noqa: E402
import grpc  # noqa: E402

WAIT_SECONDS = 15


def check(holds, text, *more):
    if not holds:
        print(text, *more)
        sys.stdout.flush()
        os._exit(1)


def refused(code, text, call):
    """The call must end with this code and text."""
    try:
        call()
    except grpc.RpcError as error:
        check(error.code() == code and error.details() == text, "another error:", error.code(), error.details())
        return
    check(False, "not refused:", text)


def keys(client):
    client.put("a", "1")
    check(client.put("a", "2", prev_kv=True).prev_kv.value == b"1", "previous value")
    value, meta = client.get("a")
    check(value == b"2" and meta.version == 2 and meta.create_revision < meta.mod_revision, "get", value, meta.version)
    check(client.get("nothing") == (None, None), "a key that is not there")
    for key in ("b/1", "b/2", "b/3"):
        client.put(key, key)
    found = [(meta.key, value) for value, meta in client.get_prefix("b/", sort_order="descend", sort_target="key")]
    check(found == [(b"b/3", b"b/3"), (b"b/2", b"b/2"), (b"b/1", b"b/1")], "prefix", found)
    check([meta.key for _, meta in client.get_prefix("b/", keys_only=True)] == [b"b/1", b"b/2", b"b/3"], "keys alone")
    check([value for value, _ in client.get_range("b/1", "b/3")] == [b"b/1", b"b/2"], "range")
    check(client.get("a", serializable=True)[0] == b"2", "serializable")
    check(client.put_if_not_exists("a", "3") is False and client.put_if_not_exists("new", "3") is True, "put if not exists")
    check(client.replace("a", "2", "4") is True and client.replace("a", "2", "5") is False, "replace")
    check(client.delete("b/1") is True and client.delete("b/1") is False, "delete")
    check(client.delete_prefix("b/").deleted == 2, "delete a prefix")
    binary = bytes(range(256)) * 4_000
    client.put(b"\x00\xff", binary)
    check(client.get(b"\x00\xff")[0] == binary, "a megabyte of any bytes")
    refused(grpc.StatusCode.INVALID_ARGUMENT, "etcdserver: key is not provided", lambda: client.kvstub.Put(etcd3.etcdrpc.PutRequest(key=b""), 5))


def transactions(client):
    client.put("t", "1")
    t = client.transactions
    succeeded, answers = client.transaction(
        compare=[t.value("t") == "1", t.version("t") > 0, t.create("none") == 0],
        success=[t.put("t", "2"), t.get("t"), t.delete("none"), t.txn(compare=[], success=[t.put("deep", "x")], failure=[])],
        failure=[t.get("t")],
    )
    check(succeeded and answers[1][0][0] == b"2", "transaction", succeeded, answers)
    check(client.get("deep")[0] == b"x", "nested")
    succeeded, answers = client.transaction(compare=[t.mod("t") == 1], success=[], failure=[t.get("t")])
    check(not succeeded and answers[0][0][0] == b"2", "the other branch")
    refused(
        grpc.StatusCode.INVALID_ARGUMENT,
        "etcdserver: duplicate key given in txn request",
        lambda: client.transaction(compare=[], success=[t.put("t", "1"), t.put("t", "2")], failure=[]),
    )


def watches(client):
    told = queue.Queue()
    first = client.put("w/0", "0").header.revision
    watched = client.add_watch_prefix_callback("w/", told.put, start_revision=first, prev_kv=True)
    for i in range(1, 101):
        client.put("w/k", str(i))
    client.delete("w/k")
    seen = []
    while len(seen) < 102:
        response = told.get(timeout=WAIT_SECONDS)
        check(not isinstance(response, Exception), "watch", response)
        seen += response.events
    check([event.value for event in seen[:101]] == [str(i).encode() for i in range(101)], "order of events")
    check(isinstance(seen[101], etcd3.events.DeleteEvent) and seen[101].prev_value == b"100", "deletion")
    check(all(isinstance(event, etcd3.events.PutEvent) for event in seen[:101]), "puts")
    client.cancel_watch(watched)
    timer = threading.Timer(0.2, lambda: client.put("once", "came"))
    timer.start()
    check(client.watch_once("once", timeout=WAIT_SECONDS).value == b"came", "watch once")
    # Many of one stream, each told of its own key alone.
    queues = [queue.Queue() for _ in range(50)]
    ids = [client.add_watch_callback(f"many/{i}", queues[i].put) for i in range(50)]
    check(len(set(ids)) == 50, "ids", ids)
    for i in range(0, 50, 2):
        client.cancel_watch(ids[i])
    for i in range(50):
        client.put(f"many/{i}", str(i))
    for i in range(1, 50, 2):
        check([event.value for event in queues[i].get(timeout=WAIT_SECONDS).events] == [str(i).encode()], "own key", i)
    check(all(queues[i].empty() for i in range(0, 50, 2)), "a cancelled watch was told")
    client.compact(first + 50)
    try:
        next(client.watch("w/k", start_revision=first)[0])
        check(False, "a watch of what is compacted")
    except etcd3.exceptions.RevisionCompactedError as error:
        check(error.compacted_revision == first + 50, "compacted at", error.compacted_revision)


def leases(client):
    lease = client.lease(30)
    client.put("leased", "x", lease=lease)
    check(lease.granted_ttl == 30 and 25 < lease.remaining_ttl <= 30 and lease.keys == [b"leased"], "lease")
    check([answer.TTL for answer in lease.refresh()] == [30], "refresh")
    lease.revoke()
    check(client.get("leased")[0] is None, "revoked")
    refused(grpc.StatusCode.NOT_FOUND, "etcdserver: requested lease not found", lambda: client.put("leased", "x", lease=lease))
    check([answer.TTL for answer in lease.refresh()] == [0], "refresh of one that is gone")
    check(lease.remaining_ttl == -1, "time to live of one that is gone")
    mine = client.lease(20, lease_id=4242)
    check(mine.id == 4242, "own id")
    try:
        client.lease(20, lease_id=4242)
        check(False, "an id given twice")
    except etcd3.exceptions.PreconditionFailedError:
        pass
    mine.revoke()
    short = client.lease(2)
    events, cancel = client.watch("short")
    client.put("short", "x", lease=short)
    check(next(events).value == b"x" and isinstance(next(events), etcd3.events.DeleteEvent), "expiry")
    cancel()
    # Several on one stream, one of them unknown.
    one, two = client.lease(50), client.lease(60)
    asked = iter([etcd3.etcdrpc.LeaseKeepAliveRequest(ID=id) for id in (one.id, 999, two.id, one.id)])
    answers = [(answer.ID, answer.TTL) for answer in client.leasestub.LeaseKeepAlive(asked, WAIT_SECONDS)]
    check(answers == [(one.id, 50), (999, 0), (two.id, 60), (one.id, 50)], "kept alive on one stream", answers)
    one.revoke()
    two.revoke()


def locks(client):
    with client.lock("held", ttl=30) as held:
        check(held.is_acquired() and len(held.refresh()) == 1, "held")
        check(client.put_if_not_exists("/locks/held", "mine too") is False, "held by two")
    check(not held.is_acquired() and client.get("/locks/held")[0] is None, "release")


def varint(number):
    number &= (1 << 64) - 1
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def encode(fields):
    """A message of bytes, numbers and messages in messages, by the numbers of its fields."""
    out = b""
    for number, value in fields.items():
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            part = encode(value) if isinstance(value, dict) else value
            out += varint(number << 3 | 2) + varint(len(part)) + part
    return out


def decode(data):
    """The last value of each field; messages in messages as bytes."""
    at = 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    fields = {}
    while at < len(data):
        tag = number()
        if tag & 7 == 0:
            fields[tag >> 3] = number()
        else:
            length = number()
            fields[tag >> 3] = data[at:at + length]
            at += length
    return fields


def recipes(client, address):
    """Locks and elections of the server, which the package does not know: asked for over grpcio itself."""
    channel = grpc.insecure_channel(address)

    def method(name):
        return channel.unary_unary(name, request_serializer=encode, response_deserializer=decode)

    lock, unlock = method("/v3lockpb.Lock/Lock"), method("/v3lockpb.Lock/Unlock")
    one, two = client.lease(30), client.lease(30)
    first = lock({1: b"L", 2: one.id}, timeout=WAIT_SECONDS)
    check(first[2] == b"L/%x" % one.id, "key of a lock", first)
    waits = lock.future({1: b"L", 2: two.id}, timeout=WAIT_SECONDS)
    while len(list(client.get_prefix("L/"))) < 2:
        pass
    check(not waits.done(), "a lock held by two")
    unlock({1: first[2]}, timeout=WAIT_SECONDS)
    check(waits.result()[2] == b"L/%x" % two.id, "the next of the queue")
    impatient = lock.future({1: b"L", 2: one.id}, timeout=0.3)
    check(impatient.code() == grpc.StatusCode.DEADLINE_EXCEEDED, "a lock that nobody waits for any more", impatient.code())
    refused(grpc.StatusCode.UNKNOWN, "etcdserver: requested lease not found", lambda: lock({1: b"M", 2: 12345}, timeout=WAIT_SECONDS))

    campaign, proclaim = method("/v3electionpb.Election/Campaign"), method("/v3electionpb.Election/Proclaim")
    leader, resign = method("/v3electionpb.Election/Leader"), method("/v3electionpb.Election/Resign")
    observe = channel.unary_stream("/v3electionpb.Election/Observe", request_serializer=encode, response_deserializer=decode)
    refused(grpc.StatusCode.UNKNOWN, "election: no leader", lambda: leader({1: b"E"}, timeout=WAIT_SECONDS))
    elected = campaign({1: b"E", 2: one.id, 3: b"one"}, timeout=WAIT_SECONDS)
    observed = observe({1: b"E"}, timeout=WAIT_SECONDS)
    check(decode(next(observed)[2])[5] == b"one", "observed")
    waits = campaign.future({1: b"E", 2: two.id, 3: b"two"}, timeout=WAIT_SECONDS)
    proclaim({1: elected[2], 2: b"uno"}, timeout=WAIT_SECONDS)
    check(decode(next(observed)[2])[5] == b"uno", "proclaimed")
    check(decode(leader({1: b"E"}, timeout=WAIT_SECONDS)[2])[5] == b"uno", "leader")
    resign({1: elected[2]}, timeout=WAIT_SECONDS)
    waits.result()
    check(decode(next(observed)[2])[5] == b"two", "the next one")
    refused(grpc.StatusCode.UNKNOWN, "election: not leader", lambda: proclaim({1: elected[2], 2: b"x"}, timeout=WAIT_SECONDS))
    observed.cancel()
    one.revoke()
    two.revoke()
    channel.close()


def operator(client):
    members = list(client.members)
    check(len(members) == 1 and members[0].name != "" and len(members[0].client_urls) == 1, "members")
    status = client.status()
    check(status.leader.id == members[0].id and status.raft_term > 0 and status.raft_index > 0 and status.db_size > 0, "status")
    check(list(client.list_alarms()) == [] and isinstance(client.hash(), int), "alarms, hash")
    client.defragment()
    file = io.BytesIO()
    client.snapshot(file)
    check(len(file.getvalue()) % 512 == 32, "snapshot of", len(file.getvalue()))


def gateway(host, port):
    import etcd3 as module

    client = module.Client(host, port, timeout=WAIT_SECONDS)
    revision = client.put("g", "1").header.revision
    check(client.put("g", "2", prev_kv=True).prev_kv.value == b"1", "previous value")
    found = client.range("g")
    check([(kv.key, kv.value, kv.version) for kv in found.kvs] == [(b"g", b"2", 2)] and found.count == 1, "range", found)
    check(client.range("g", revision=revision).kvs[0].value == b"1", "range of the past")
    check(client.range(prefix=True, key="g", count_only=True).count == 1, "count")
    txn = client.Txn()
    txn.compare(txn.key("g").value == "2")
    txn.success(txn.put("g", "3"))
    txn.success(txn.range("g"))
    txn.failure(txn.delete("g"))
    done = txn.commit()
    check(done.succeeded and done.responses[1].response_range.kvs[0].value == b"3", "transaction", done)
    client.delete_range("g")
    watcher = client.Watcher(key="g", start_revision=revision, prev_kv=True)
    events = []
    for event in watcher:
        events.append((event.type.value, event.value))
        if len(events) == 4:
            break
    watcher.stop()
    check(events == [("PUT", b"1"), ("PUT", b"2"), ("PUT", b"3"), ("DELETE", None)], "watch", events)
    lease = client.Lease(ttl=10)
    lease.grant()
    client.put("leased", "x", lease=lease.ID)
    check(lease.time_to_live(keys=True).keys == [b"leased"], "lease")
    check(lease.keepalive_once().TTL == 10, "kept alive")
    lease.revoke()
    check(client.range("leased").kvs is None, "revoked")
    with client.Lock("name", lock_ttl=10) as lock:
        check(lock.is_acquired, "lock")
    try:
        client.range("g", revision=revision + 1_000)
        check(False, "a range of the future")
    except module.errors.ErrFutureRev:
        pass
    check(len(client.member_list().members) == 1 and client.status().leader > 0, "members")
    client.close()


def main():
    host, port = sys.argv[-1].rsplit(":", 1)
    if sys.argv[1] == "gateway":
        gateway(host, int(port))
        print("ok")
        return
    client = etcd3.client(host=host, port=int(port), timeout=WAIT_SECONDS)
    for part in (keys, transactions, watches, leases, locks, operator):
        part(client)
    recipes(client, sys.argv[-1])
    client.close()
    print("ok")


main()
