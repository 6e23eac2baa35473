<?php
// Predis: a client in plain PHP, and its handler of sessions.
require __DIR__ . '/job.php';
require 'Predis/autoload.php';

$client = new Predis\Client("tcp://127.0.0.1:$port?password=$password&database=1");
same('OK', (string) $client->set('text', "h\u{e9}llo", 'EX', 100));
same("h\u{e9}llo", $client->get('text'));
between(90, 100, $client->ttl('text'));
same(null, $client->set('text', 'other', 'EX', 100, 'NX'));
same('OK', (string) $client->mset(['a' => 1, 'b' => 2]));
same(['1', '2', null], $client->mget(['a', 'b', 'none']));
same(6, $client->incrby('a', 5));
same(3, $client->del(['a', 'b', 'text']));

$replies = $client->pipeline(function ($pipe) {
    for ($i = 0; $i < 300; $i++) {
        $pipe->set("p:$i", $i);
    }
});
same(300, count($replies));
same('299', $client->get('p:299'));
$found = iterator_to_array(new Predis\Collection\Iterator\Keyspace($client, 'p:*', 50), false);
same(300, count(array_unique($found)));
same(300, $client->del($found));

// Check and set: somebody else is faster, and it tries once more.
$client->set('{t}a', 1);
$tries = 0;
$other = new Predis\Client("tcp://127.0.0.1:$port?password=$password&database=1");
$replies = $client->transaction(['cas' => true, 'watch' => '{t}a', 'retry' => 2], function ($t) use (&$tries, $other) {
    $count = (int) $t->get('{t}a');
    if ($tries++ === 0) {
        $other->set('{t}a', 40);
    }
    $t->multi();
    $t->set('{t}a', $count + 1);
    $t->incr('{t}b');
});
same(2, $tries);
same(['41', '1'], $client->mget(['{t}a', '{t}b']));

$prefixed = new Predis\Client("tcp://127.0.0.1:$port?password=$password", ['prefix' => 'site:']);
$handler = new Predis\Session\Handler($prefixed, ['gc_maxlifetime' => 600]);
same(true, $handler->write('id', 'user|s:3:"ada";'));
same('user|s:3:"ada";', $handler->read('id'));
between(590, 600, $prefixed->ttl('id'));
same(true, $handler->destroy('id'));
same('', $handler->read('id'));

try {
    $client->incr('{t}a');
    $client->set('text', 'x');
    $client->incr('text');
    same('an error', 'none');
} catch (Predis\Response\ServerException $error) {
    same('ERR value is not an integer or out of range', $error->getMessage());
}
same('OK', (string) $client->hmset('hash', ['name' => 'Ada', 'born' => 1815]));
same(['name' => 'Ada', 'born' => '1815'], $client->hgetall('hash'));
same(2, $client->sadd('set', ['a', 'b', 'a']));
same([], array_diff(['a', 'b'], $client->smembers('set')));
same(3, $client->rpush('list', ['a', 'b', 'a']));
same(['a', 'b', 'a'], $client->lrange('list', 0, -1));
same(7, $client->eval('return 7', 0));
same('OK', (string) $client->flushdb());
echo "ok\n";
