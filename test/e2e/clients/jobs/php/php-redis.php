<?php
// phpredis: the extension itself.
require __DIR__ . '/job.php';

$redis = new Redis();
$redis->connect('127.0.0.1', $port);
$redis->auth($password);
$redis->select(1);
same(true, $redis->set('text', "h\u{e9}llo", ['ex' => 100]));
same("h\u{e9}llo", $redis->get('text'));
between(90, 100, $redis->ttl('text'));
same(false, $redis->get('nothing'));
same(false, $redis->set('text', 'other', ['nx', 'ex' => 100]));
same(true, $redis->setnx('new', '1'));
same(2, $redis->del('text', 'new'));
$raw = implode('', array_map('chr', range(0, 255)));
same(true, $redis->set($raw, $raw));
same($raw, $redis->get($raw));
same(true, $redis->mset(['a' => '1', 'b' => '2']));
same(['1', '2', false], $redis->mget(['a', 'b', 'none']));
same(6, $redis->incrBy('a', 5));
same(0.5, $redis->incrByFloat('f', 0.5));
same(3, $redis->append('app', 'abc'));

same(true, $redis->hMSet('hash', ['name' => 'Ada', 'born' => 1815]));
same(['name' => 'Ada', 'born' => '1815'], $redis->hGetAll('hash'));
same(2, $redis->sAdd('set', 'a', 'b', 'a'));
same([], array_diff(['a', 'b'], $redis->sMembers('set')));
same(3, $redis->rPush('list', 'a', 'b', 'a'));
same(['a', 'b', 'a'], $redis->lRange('list', 0, -1));

// A pipeline, a transaction, and WATCH.
$pipe = $redis->multi(Redis::PIPELINE);
for ($i = 0; $i < 300; $i++) {
    $pipe->set("p:$i", $i);
}
same(array_fill(0, 300, true), $pipe->exec());
same([true, 2, '2'], $redis->multi()->set('{t}a', 1)->incr('{t}a')->get('{t}a')->exec());
$other = new Redis();
$other->connect('127.0.0.1', $port);
$other->auth($password);
$other->select(1);
$redis->watch('{t}a');
$other->set('{t}a', 'theirs');
same(false, $redis->multi()->set('{t}a', 'mine')->exec());
same('theirs', $redis->get('{t}a'));

$redis->setOption(Redis::OPT_SCAN, Redis::SCAN_RETRY);
$found = [];
$cursor = null;
while ($keys = $redis->scan($cursor, 'p:*', 50)) {
    array_push($found, ...$keys);
}
same(300, count(array_unique($found)));
same(300, $redis->unlink($found));

// Prefix and serializer, as frameworks set them.
$redis->setOption(Redis::OPT_PREFIX, 'site:');
$redis->setOption(Redis::OPT_SERIALIZER, Redis::SERIALIZER_PHP);
same(true, $redis->set('user', ['name' => 'Ada']));
same(['name' => 'Ada'], $redis->get('user'));
same(1, $other->exists('site:user'));

// Its connection is closed from outside, and it connects again, to the same database.
foreach ($other->client('list') as $client) {
    if ($client['name'] === '' && $client['id'] !== $other->rawCommand('CLIENT', 'ID')) {
        $other->rawCommand('CLIENT', 'KILL', 'ID', $client['id']);
    }
}
same(['name' => 'Ada'], $redis->get('user'));

same(false, $redis->incr('user'));
same('ERR value is not an integer or out of range', rtrim($redis->getLastError(), "\0"));
$redis->clearLastError();
same(7, $redis->eval('return 7'));
same(true, $other->flushDB());
same(0, $other->dbSize());
echo "ok\n";
