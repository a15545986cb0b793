// Uses a server as programs in Go do, through clientv3 and its concurrency package. Exits with 1 and a line that says what went wrong.
//
//	clientv3-peer ENDPOINT[,ENDPOINT...]
//	clientv3-peer sync ENDPOINT
//
// The second learns the endpoints of a cluster of three from one of them, and uses each.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/client/v3/namespace"
)

func check(holds bool, format string, args ...any) {
	if !holds {
		fmt.Printf(format+"\n", args...)
		os.Exit(1)
	}
}

func must[T any](value T, err error) T {
	check(err == nil, "%v", err)
	return value
}

func main() {
	if os.Args[1] == "sync" {
		endpoints(os.Args[2])
		fmt.Println("ok")
		return
	}
	client := must(clientv3.New(clientv3.Config{Endpoints: strings.Split(os.Args[1], ","), DialTimeout: 5 * time.Second}))
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	keys(ctx, client)
	transactions(ctx, client)
	watches(ctx, client)
	manyWatches(ctx, client)
	leases(ctx, client)
	orphans(ctx, client)
	locks(ctx, client)
	elections(ctx, client)
	operator(ctx, client)
	fmt.Println("ok")
}

func endpoints(first string) {
	client := must(clientv3.New(clientv3.Config{Endpoints: []string{first}, DialTimeout: 5 * time.Second}))
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	check(client.Sync(ctx) == nil, "sync")
	members := must(client.MemberList(ctx)).Members
	check(len(members) == 3 && len(client.Endpoints()) == 3, "endpoints %v of %v", client.Endpoints(), members)
	for _, member := range members {
		status := must(client.Status(ctx, member.ClientURLs[0]))
		check(status.Header.MemberId == member.ID, "%s is not %x", member.ClientURLs[0], member.ID)
	}
	must(client.Put(ctx, "synced", "1"))
}

func keys(ctx context.Context, client *clientv3.Client) {
	must(client.Put(ctx, "a", "1"))
	put := must(client.Put(ctx, "a", "2", clientv3.WithPrevKV()))
	check(string(put.PrevKv.Value) == "1", "previous value %v", put.PrevKv)
	for _, key := range []string{"b", "c", "d"} {
		must(client.Put(ctx, key, key))
	}
	got := must(client.Get(ctx, "a", clientv3.WithRange("d"), clientv3.WithLimit(2), clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend)))
	check(got.Count == 3 && got.More && string(got.Kvs[0].Key) == "c", "range %v", got)
	old := must(client.Get(ctx, "a", clientv3.WithRev(put.Header.Revision-1)))
	check(string(old.Kvs[0].Value) == "1", "past revision %v", old)
	local := must(client.Get(ctx, "a", clientv3.WithSerializable()))
	check(local.Count == 1, "serializable %v", local)
	_, err := client.Get(ctx, "a", clientv3.WithRev(put.Header.Revision+1000))
	check(errors.Is(err, rpctypes.ErrFutureRev), "future revision: %v", err)
	_, err = client.Put(ctx, "", "x")
	check(errors.Is(err, rpctypes.ErrEmptyKey), "empty key: %v", err)
	deleted := must(client.Delete(ctx, "b", clientv3.WithFromKey(), clientv3.WithPrevKV()))
	check(deleted.Deleted == 3 && len(deleted.PrevKvs) == 3, "deletion %v", deleted)
	under := namespace.NewKV(client.KV, "ns/")
	must(under.Put(ctx, "k", "v"))
	check(must(client.Get(ctx, "ns/k")).Count == 1, "namespace")
}

func transactions(ctx context.Context, client *clientv3.Client) {
	txn := must(client.Txn(ctx).
		If(clientv3.Compare(clientv3.Value("a"), "=", "2"), clientv3.Compare(clientv3.CreateRevision("new"), "=", 0)).
		Then(clientv3.OpPut("new", "1"), clientv3.OpGet("new"), clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpDelete("a")}, nil)).
		Else(clientv3.OpGet("a")).Commit())
	check(txn.Succeeded && len(txn.Responses) == 3, "transaction %v", txn)
	check(string(txn.Responses[1].GetResponseRange().Kvs[0].Value) == "1", "reads its writes %v", txn)
	check(txn.Responses[2].GetResponseTxn().Responses[0].GetResponseDeleteRange().Deleted == 1, "nested %v", txn)
	_, err := client.Txn(ctx).Then(clientv3.OpPut("x", "1"), clientv3.OpPut("x", "2")).Commit()
	check(errors.Is(err, rpctypes.ErrDuplicateKey), "written twice: %v", err)
	var group sync.WaitGroup
	must(client.Put(ctx, "counter", "0"))
	for range 4 {
		group.Add(1)
		go func() {
			defer group.Done()
			for range 10 {
				must(concurrency.NewSTM(client, func(stm concurrency.STM) error {
					var n int
					fmt.Sscan(stm.Get("counter"), &n)
					stm.Put("counter", fmt.Sprint(n+1))
					return nil
				}))
			}
		}()
	}
	group.Wait()
	check(string(must(client.Get(ctx, "counter")).Kvs[0].Value) == "40", "software transactional memory")
}

func watches(ctx context.Context, client *clientv3.Client) {
	first := must(client.Put(ctx, "w/0", "0"))
	events := client.Watch(ctx, "w/", clientv3.WithPrefix(), clientv3.WithRev(first.Header.Revision), clientv3.WithPrevKV(), clientv3.WithFragment())
	deletions := client.Watch(ctx, "w/", clientv3.WithPrefix(), clientv3.WithFilterPut())
	for i := 1; i <= 100; i++ {
		must(client.Put(ctx, "w/k", fmt.Sprint(i)))
	}
	must(client.Delete(ctx, "w/k"))
	seen := 0
	for seen < 102 {
		response := <-events
		check(response.Err() == nil, "watch: %v", response.Err())
		for _, event := range response.Events {
			switch {
			case seen == 0:
				check(event.IsCreate(), "creation %v", event)
			case seen == 101:
				check(event.Type == clientv3.EventTypeDelete && string(event.PrevKv.Value) == "100", "deletion %v", event)
			default:
				check(string(event.Kv.Value) == fmt.Sprint(seen), "event %d is %v", seen, event)
			}
			seen++
		}
	}
	response := <-deletions
	check(len(response.Events) == 1 && response.Events[0].Type == clientv3.EventTypeDelete, "filtered %v", response)
	check(client.RequestProgress(ctx) == nil, "progress")
	for {
		response := <-events
		if response.IsProgressNotify() {
			break
		}
	}
	must(client.Compact(ctx, first.Header.Revision+50))
	gone := <-client.Watch(ctx, "w/", clientv3.WithPrefix(), clientv3.WithRev(first.Header.Revision))
	check(errors.Is(gone.Err(), rpctypes.ErrCompacted) && gone.CompactRevision == first.Header.Revision+50, "compacted: %v %d", gone.Err(), gone.CompactRevision)
	_, err := client.Get(ctx, "w/k", clientv3.WithRev(first.Header.Revision))
	check(errors.Is(err, rpctypes.ErrCompacted), "compacted read: %v", err)
}

// A hundred watches that share streams, some cancelled, each with a progress of its own to tell.
func manyWatches(ctx context.Context, client *clientv3.Client) {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	channels := make([]clientv3.WatchChan, 100)
	stops := make([]context.CancelFunc, len(channels))
	for i := range channels {
		own, stop := context.WithCancel(inner)
		stops[i] = stop
		channels[i] = client.Watch(own, fmt.Sprintf("many/%d", i), clientv3.WithCreatedNotify(), clientv3.WithProgressNotify(), clientv3.WithFilterDelete())
	}
	for _, channel := range channels {
		created := <-channel
		check(created.Created && created.Header.Revision > 0, "created %v", created)
	}
	for i := 0; i < len(channels); i += 2 {
		stops[i]()
		for range channels[i] {
		}
	}
	must(client.Txn(ctx).Then(clientv3.OpPut("many/1", "1"), clientv3.OpPut("many/99", "1"), clientv3.OpPut("many/2", "1")).Commit())
	first, last := <-channels[1], <-channels[99]
	check(first.Events[0].Kv.ModRevision == last.Events[0].Kv.ModRevision && first.Header.Revision == last.Header.Revision, "one revision: %v, %v", first, last)
	// From one revision on, again and again, is the same each time.
	revision := first.Header.Revision
	for i := range 5 {
		must(client.Put(ctx, "again", fmt.Sprint(i)))
	}
	for range 3 {
		seen := 0
		watching, stop := context.WithCancel(inner)
		for response := range client.Watch(watching, "again", clientv3.WithRev(revision)) {
			for _, event := range response.Events {
				check(string(event.Kv.Value) == fmt.Sprint(seen), "again %d: %v", seen, event)
				seen++
			}
			if seen == 5 {
				break
			}
		}
		stop()
	}
	refused := <-client.Watch(inner, "b", clientv3.WithRange("a"))
	check(refused.Canceled && refused.Err() != nil, "empty range: %v", refused)
}

// A session whose lease somebody else revokes is done; who waits behind it goes on.
func orphans(ctx context.Context, client *clientv3.Client) {
	one := must(concurrency.NewSession(client, concurrency.WithTTL(10)))
	two := must(concurrency.NewSession(client, concurrency.WithTTL(10)))
	defer two.Close()
	held, waiting := concurrency.NewMutex(one, "orphan"), concurrency.NewMutex(two, "orphan")
	check(held.Lock(ctx) == nil, "first lock")
	check(errors.Is(waiting.TryLock(ctx), concurrency.ErrLocked), "try lock")
	locked := make(chan error, 1)
	go func() { locked <- waiting.Lock(ctx) }()
	must(client.Revoke(ctx, one.Lease()))
	check(<-locked == nil, "second lock")
	<-one.Done()
	check(held.Unlock(ctx) != nil || must(client.Get(ctx, held.Key())).Count == 0, "the lock of a session that is done")
	check(waiting.Unlock(ctx) == nil, "unlock")
	// A lease with a short time that nobody keeps alive ends.
	lease := must(client.Grant(ctx, 2))
	put := must(client.Put(ctx, "short", "x", clientv3.WithLease(lease.ID)))
	gone := <-client.Watch(ctx, "short", clientv3.WithRev(put.Header.Revision+1), clientv3.WithPrevKV())
	check(gone.Events[0].Type == clientv3.EventTypeDelete && clientv3.LeaseID(gone.Events[0].PrevKv.Lease) == lease.ID, "expiry %v", gone)
	check(must(client.TimeToLive(ctx, lease.ID)).TTL == -1, "expired")
}

func leases(ctx context.Context, client *clientv3.Client) {
	lease := must(client.Grant(ctx, 5))
	must(client.Put(ctx, "leased", "x", clientv3.WithLease(lease.ID)))
	alive := must(client.KeepAlive(ctx, lease.ID))
	answer := <-alive
	check(answer != nil && answer.TTL == 5, "kept alive %v", answer)
	left := must(client.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys()))
	check(left.GrantedTTL == 5 && len(left.Keys) == 1, "time to live %v", left)
	check(len(must(client.Leases(ctx)).Leases) == 1, "leases")
	must(client.Revoke(ctx, lease.ID))
	check(must(client.Get(ctx, "leased")).Count == 0, "revoked")
	_, err := client.Put(ctx, "leased", "x", clientv3.WithLease(lease.ID))
	check(errors.Is(err, rpctypes.ErrLeaseNotFound), "lease not found: %v", err)
	_, err = client.KeepAliveOnce(ctx, lease.ID)
	check(errors.Is(err, rpctypes.ErrLeaseNotFound), "renewal: %v", err)
}

func locks(ctx context.Context, client *clientv3.Client) {
	var inside, most int
	var group sync.WaitGroup
	var guard sync.Mutex
	for range 5 {
		group.Add(1)
		go func() {
			defer group.Done()
			session := must(concurrency.NewSession(client, concurrency.WithTTL(10)))
			defer session.Close()
			mutex := concurrency.NewMutex(session, "mutex")
			check(mutex.Lock(ctx) == nil, "lock")
			guard.Lock()
			inside++
			most = max(most, inside)
			guard.Unlock()
			time.Sleep(5 * time.Millisecond)
			guard.Lock()
			inside--
			guard.Unlock()
			check(mutex.Unlock(ctx) == nil, "unlock")
		}()
	}
	group.Wait()
	check(most == 1, "%d held the lock at once", most)
}

func elections(ctx context.Context, client *clientv3.Client) {
	one := must(concurrency.NewSession(client, concurrency.WithTTL(10)))
	defer one.Close()
	two := must(concurrency.NewSession(client, concurrency.WithTTL(10)))
	defer two.Close()
	first, second := concurrency.NewElection(one, "election"), concurrency.NewElection(two, "election")
	check(first.Campaign(ctx, "one") == nil, "campaign")
	elected := make(chan error, 1)
	go func() { elected <- second.Campaign(ctx, "two") }()
	check(first.Proclaim(ctx, "uno") == nil, "proclaim")
	check(string(must(first.Leader(ctx)).Kvs[0].Value) == "uno", "leader")
	check(first.Resign(ctx) == nil, "resign")
	check(<-elected == nil, "second campaign")
	check(string(must(second.Leader(ctx)).Kvs[0].Value) == "two", "next leader")
}

func operator(ctx context.Context, client *clientv3.Client) {
	members := must(client.MemberList(ctx))
	check(len(members.Members) > 0 && members.Members[0].Name != "", "members %v", members)
	status := must(client.Status(ctx, client.Endpoints()[0]))
	check(status.Leader != 0 && status.RaftTerm > 0, "status %v", status)
	check(len(must(client.AlarmList(ctx)).Alarms) == 0, "alarms")
	check(client.Sync(ctx) == nil, "sync of endpoints")
	auth, err := client.AuthStatus(ctx)
	// An etcd 3.4 does not know it.
	check((err == nil && !auth.Enabled) || (err != nil && strings.Contains(err.Error(), "unknown method AuthStatus")), "authentication: %v", err)
}
