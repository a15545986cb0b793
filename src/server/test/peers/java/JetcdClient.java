import static java.nio.charset.StandardCharsets.UTF_8;

import io.etcd.jetcd.ByteSequence;
import io.etcd.jetcd.Client;
import io.etcd.jetcd.Election;
import io.etcd.jetcd.KV;
import io.etcd.jetcd.KeyValue;
import io.etcd.jetcd.Lease;
import io.etcd.jetcd.Watch;
import io.etcd.jetcd.common.exception.CompactedException;
import io.etcd.jetcd.election.LeaderResponse;
import io.etcd.jetcd.lease.LeaseKeepAliveResponse;
import io.etcd.jetcd.op.Cmp;
import io.etcd.jetcd.op.CmpTarget;
import io.etcd.jetcd.op.Op;
import io.etcd.jetcd.options.DeleteOption;
import io.etcd.jetcd.options.GetOption;
import io.etcd.jetcd.options.LeaseOption;
import io.etcd.jetcd.options.PutOption;
import io.etcd.jetcd.options.WatchOption;
import io.etcd.jetcd.support.CloseableClient;
import io.etcd.jetcd.support.Observers;
import io.etcd.jetcd.watch.WatchEvent;
import io.etcd.jetcd.watch.WatchResponse;
import java.io.ByteArrayOutputStream;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Uses a server as programs in Java do, through jetcd. Exits with 1 and a line that says what went wrong.
 *
 * <p>JetcdClient HOST:PORT
 */
public final class JetcdClient {
  private static final long WAIT_SECONDS = 15;

  private static void check(boolean holds, String text, Object... more) {
    if (holds) return;
    System.out.println(text + " " + List.of(more));
    System.out.flush();
    Runtime.getRuntime().halt(1);
  }

  private static ByteSequence bytes(String text) {
    return ByteSequence.from(text, UTF_8);
  }

  private static String text(ByteSequence bytes) {
    return bytes.toString(UTF_8);
  }

  private static <T> T await(CompletableFuture<T> future) throws Exception {
    return future.get(WAIT_SECONDS, TimeUnit.SECONDS);
  }

  /** The call must end with this text. */
  private static void refused(String text, CompletableFuture<?> future) throws Exception {
    try {
      await(future);
      check(false, "not refused:", text);
    } catch (ExecutionException failed) {
      check(failed.getCause().getMessage().contains(text), "another error:", failed.getCause());
    }
  }

  private static <T> T take(BlockingQueue<T> queue) throws Exception {
    T taken = queue.poll(WAIT_SECONDS, TimeUnit.SECONDS);
    check(taken != null, "nothing came");
    return taken;
  }

  private static void keys(KV kv) throws Exception {
    await(kv.put(bytes("a"), bytes("1")));
    var put = await(kv.put(bytes("a"), bytes("2"), PutOption.builder().withPrevKV().build()));
    check(text(put.getPrevKv().getValue()).equals("1"), "previous value");
    for (String key : List.of("b/1", "b/2", "b/3")) await(kv.put(bytes(key), bytes(key)));
    var found = await(kv.get(bytes("b/"), GetOption.builder().isPrefix(true).withLimit(2)
        .withSortField(GetOption.SortTarget.KEY).withSortOrder(GetOption.SortOrder.DESCEND).build()));
    check(found.getCount() == 3 && found.isMore() && text(found.getKvs().get(0).getKey()).equals("b/3"), "range", found);
    var old = await(kv.get(bytes("a"), GetOption.builder().withRevision(put.getHeader().getRevision() - 1).build()));
    check(text(old.getKvs().get(0).getValue()).equals("1"), "past revision", old);
    check(await(kv.get(bytes("a"), GetOption.builder().withSerializable(true).build())).getCount() == 1, "serializable");
    check(await(kv.get(bytes("none"))).getKvs().isEmpty(), "a key that is not there");
    var keysAlone = await(kv.get(bytes("b/"), GetOption.builder().isPrefix(true).withKeysOnly(true).build()));
    check(keysAlone.getKvs().get(0).getValue().isEmpty(), "keys alone");
    refused("required revision is a future revision", kv.get(bytes("a"), GetOption.builder().withRevision(1_000_000).build()));
    refused("key is not provided", kv.put(ByteSequence.EMPTY, bytes("x")));
    var deleted = await(kv.delete(bytes("b/"), DeleteOption.builder().isPrefix(true).withPrevKV(true).build()));
    check(deleted.getDeleted() == 3 && deleted.getPrevKvs().size() == 3, "deletion", deleted);
  }

  private static void transactions(KV kv) throws Exception {
    var done = await(kv.txn()
        .If(new Cmp(bytes("a"), Cmp.Op.EQUAL, CmpTarget.value(bytes("2"))), new Cmp(bytes("new"), Cmp.Op.EQUAL, CmpTarget.createRevision(0)))
        .Then(Op.put(bytes("new"), bytes("1"), PutOption.DEFAULT), Op.get(bytes("new"), GetOption.DEFAULT),
            Op.txn(new Cmp[] {}, new Op[] {Op.delete(bytes("a"), DeleteOption.DEFAULT)}, new Op[] {}))
        .Else(Op.get(bytes("a"), GetOption.DEFAULT))
        .commit());
    check(done.isSucceeded() && text(done.getGetResponses().get(0).getKvs().get(0).getValue()).equals("1"), "transaction", done);
    check(done.getTxnResponses().get(0).getDeleteResponses().get(0).getDeleted() == 1, "nested", done);
    var other = await(kv.txn().If(new Cmp(bytes("new"), Cmp.Op.GREATER, CmpTarget.version(1))).Else(Op.get(bytes("new"), GetOption.DEFAULT)).commit());
    check(!other.isSucceeded() && other.getGetResponses().size() == 1, "the other branch", other);
    refused("duplicate key given in txn request",
        kv.txn().Then(Op.put(bytes("x"), bytes("1"), PutOption.DEFAULT), Op.put(bytes("x"), bytes("2"), PutOption.DEFAULT)).commit());
  }

  private static void watches(Client client) throws Exception {
    KV kv = client.getKVClient();
    Watch watch = client.getWatchClient();
    long first = await(kv.put(bytes("w/0"), bytes("0"))).getHeader().getRevision();
    BlockingQueue<WatchResponse> told = new LinkedBlockingQueue<>();
    BlockingQueue<Throwable> failures = new LinkedBlockingQueue<>();
    var options = WatchOption.builder().isPrefix(true).withRevision(first).withPrevKV(true).withProgressNotify(true).build();
    var watcher = watch.watch(bytes("w/"), options, Watch.listener(told::add, failures::add));
    for (int i = 1; i <= 100; i++) await(kv.put(bytes("w/k"), bytes(String.valueOf(i))));
    await(kv.delete(bytes("w/k")));
    List<WatchEvent> seen = new ArrayList<>();
    while (seen.size() < 102) seen.addAll(take(told).getEvents());
    for (int i = 0; i <= 100; i++) check(text(seen.get(i).getKeyValue().getValue()).equals(String.valueOf(i)), "event", i);
    var last = seen.get(101);
    check(last.getEventType() == WatchEvent.EventType.DELETE && text(last.getPrevKV().getValue()).equals("100"), "deletion");
    watcher.requestProgress();
    while (!take(told).isProgressNotify()) {}
    watcher.close();
    // Many, each told of its own key alone.
    List<BlockingQueue<WatchResponse>> queues = new ArrayList<>();
    List<Watch.Watcher> watchers = new ArrayList<>();
    for (int i = 0; i < 50; i++) {
      BlockingQueue<WatchResponse> queue = new LinkedBlockingQueue<>();
      queues.add(queue);
      watchers.add(watch.watch(bytes("many/" + i), WatchOption.builder().withCreateNotify(true).build(), queue::add));
      check(take(queue).isCreatedNotify(), "created", i);
    }
    for (int i = 0; i < 50; i += 2) watchers.get(i).close();
    for (int i = 0; i < 50; i++) await(kv.put(bytes("many/" + i), bytes(String.valueOf(i))));
    for (int i = 1; i < 50; i += 2) check(text(take(queues.get(i)).getEvents().get(0).getKeyValue().getValue()).equals(String.valueOf(i)), "own key", i);
    await(kv.compact(first + 50));
    refused("required revision has been compacted", kv.get(bytes("w/k"), GetOption.builder().withRevision(first).build()));
    BlockingQueue<Throwable> ends = new LinkedBlockingQueue<>();
    watch.watch(bytes("w/k"), WatchOption.builder().withRevision(first).build(), Watch.listener(response -> {}, ends::add));
    Throwable end = take(ends);
    check(end instanceof CompactedException compacted && compacted.getCompactedRevision() == first + 50, "compacted", end);
    check(failures.isEmpty(), "a watch that failed", failures);
  }

  private static void leases(Client client) throws Exception {
    KV kv = client.getKVClient();
    Lease leases = client.getLeaseClient();
    long lease = await(leases.grant(5)).getID();
    await(kv.put(bytes("leased"), bytes("x"), PutOption.builder().withLeaseId(lease).build()));
    BlockingQueue<LeaseKeepAliveResponse> kept = new LinkedBlockingQueue<>();
    CloseableClient keeping = leases.keepAlive(lease, Observers.observer(kept::add));
    // At once, and again each third of the time: the second shows that the stream goes on.
    for (int i = 0; i < 2; i++) check(take(kept).getTTL() == 5, "kept alive");
    keeping.close();
    var left = await(leases.timeToLive(lease, LeaseOption.builder().withAttachedKeys().build()));
    check(left.getGrantedTTL() == 5 && left.getKeys().size() == 1, "time to live", left);
    check(await(leases.keepAliveOnce(lease)).getTTL() == 5, "kept alive once");
    await(leases.revoke(lease));
    check(await(kv.get(bytes("leased"))).getCount() == 0, "revoked");
    refused("requested lease not found", kv.put(bytes("leased"), bytes("x"), PutOption.builder().withLeaseId(lease).build()));
    refused("requested lease not found", leases.revoke(lease));
    long shortOne = await(leases.grant(2)).getID();
    BlockingQueue<WatchResponse> told = new LinkedBlockingQueue<>();
    long put = await(kv.put(bytes("short"), bytes("x"), PutOption.builder().withLeaseId(shortOne).build())).getHeader().getRevision();
    var watcher = client.getWatchClient().watch(bytes("short"), WatchOption.builder().withRevision(put + 1).build(), told::add);
    check(take(told).getEvents().get(0).getEventType() == WatchEvent.EventType.DELETE, "expiry");
    watcher.close();
  }

  private static void locks(Client client) throws Exception {
    AtomicInteger inside = new AtomicInteger();
    AtomicInteger most = new AtomicInteger();
    List<CompletableFuture<Void>> all = new ArrayList<>();
    for (int i = 0; i < 4; i++) {
      long lease = await(client.getLeaseClient().grant(30)).getID();
      all.add(client.getLockClient().lock(bytes("mutex"), lease).thenCompose(held -> {
        most.accumulateAndGet(inside.incrementAndGet(), Math::max);
        inside.decrementAndGet();
        return client.getLockClient().unlock(held.getKey());
      }).thenAccept(unlocked -> {}));
    }
    for (var one : all) await(one);
    check(most.get() == 1, "inside at once:", most);
    // One whose lease ends gives way to the next.
    long ending = await(client.getLeaseClient().grant(30)).getID();
    long next = await(client.getLeaseClient().grant(30)).getID();
    await(client.getLockClient().lock(bytes("passed"), ending));
    var waits = client.getLockClient().lock(bytes("passed"), next);
    await(client.getLeaseClient().revoke(ending));
    check(text(await(waits).getKey()).equals("passed/" + Long.toHexString(next)), "the next of the queue");
  }

  private static void elections(Client client) throws Exception {
    Election election = client.getElectionClient();
    long one = await(client.getLeaseClient().grant(30)).getID();
    long two = await(client.getLeaseClient().grant(30)).getID();
    BlockingQueue<LeaderResponse> observed = new LinkedBlockingQueue<>();
    election.observe(bytes("election"), new Election.Listener() {
      @Override
      public void onNext(LeaderResponse response) {
        observed.add(response);
      }

      @Override
      public void onError(Throwable error) {}

      @Override
      public void onCompleted() {}
    });
    var elected = await(election.campaign(bytes("election"), one, bytes("one")));
    check(text(take(observed).getKv().getValue()).equals("one"), "observed");
    var second = election.campaign(bytes("election"), two, bytes("two"));
    await(election.proclaim(elected.getLeader(), bytes("uno")));
    check(text(take(observed).getKv().getValue()).equals("uno"), "proclaimed");
    KeyValue leader = await(election.leader(bytes("election"))).getKv();
    check(text(leader.getValue()).equals("uno") && leader.getLease() == one, "leader");
    await(election.resign(elected.getLeader()));
    await(second);
    check(text(take(observed).getKv().getValue()).equals("two"), "the next leader");
  }

  private static void operator(Client client, String address) throws Exception {
    var members = await(client.getClusterClient().listMember()).getMembers();
    check(members.size() == 1 && !members.get(0).getName().isEmpty(), "members", members);
    var status = await(client.getMaintenanceClient().statusMember("http://" + address));
    check(status.getLeader() == members.get(0).getId() && status.getRaftTerm() > 0, "status");
    check(await(client.getMaintenanceClient().listAlarms()).getAlarms().isEmpty(), "alarms");
    check(await(client.getMaintenanceClient().hashKV("http://" + address, 0)).getHeader().getRevision() > 1, "hash");
    var file = new ByteArrayOutputStream();
    check(await(client.getMaintenanceClient().snapshot(file)) == file.size() && file.size() % 512 == 32, "snapshot of", file.size());
  }

  public static void main(String[] args) throws Exception {
    try (Client client = Client.builder().endpoints("http://" + args[0]).build()) {
      keys(client.getKVClient());
      transactions(client.getKVClient());
      watches(client);
      leases(client);
      locks(client);
      elections(client);
      operator(client, args[0]);
    }
    System.out.println("ok");
    System.out.flush();
    Runtime.getRuntime().halt(0);
  }
}
