<?php
// Laravel's cache over phpredis and over Predis, with the settings of a new project: database 1 and a prefix.
require __DIR__ . '/job.php';
require 'Illuminate/Cache/autoload.php';
require 'Illuminate/Redis/autoload.php';

use Illuminate\Cache\RedisStore;
use Illuminate\Cache\Repository;
use Illuminate\Redis\RedisManager;

foreach (['predis', 'phpredis'] as $driver) {
    $manager = new RedisManager(null, $driver, [
        'options' => ['prefix' => 'laravel_database_'],
        'cache' => ['host' => '127.0.0.1', 'port' => $port, 'password' => $password, 'database' => 1],
    ]);
    $store = new RedisStore($manager, 'laravel_cache', 'cache');
    $cache = new Repository($store);

    same(true, $cache->put('user', ['name' => 'Ada'], 60));
    same(['name' => 'Ada'], $cache->get('user'));
    between(50, 60, $manager->connection('cache')->ttl('laravel_cache:user'));
    same('default', $cache->get('nobody', 'default'));
    same(true, $cache->has('user'));
    $worked = 0;
    $work = function () use (&$worked) {
        return ++$worked;
    };
    same([1, 1], [(int) $cache->remember('once', 60, $work), (int) $cache->remember('once', 60, $work)]);
    same(1, (int) $cache->rememberForever('once', $work));
    same([5, 3], [$cache->increment('count', 5), $cache->decrement('count', 2)]);
    same(true, $cache->forever('ever', 'x'));
    same(-1, $manager->connection('cache')->ttl('laravel_cache:ever'));
    same('x', $cache->pull('ever'));
    same(null, $cache->get('ever'));

    $many = [];
    foreach (range(0, 49) as $i) {
        $many["many:$i"] = "value $i";
    }
    same(true, $cache->putMany($many, 60));
    same($many + ['none' => null], $cache->many([...array_keys($many), 'none']));
    same(true, $cache->forget('user'));

    $lock = $cache->lock('work', 10);
    same(true, $lock->get());
    same(false, $cache->lock('work', 10)->get());
    same(true, (bool) $lock->release());
    same(true, $cache->lock('work', 10)->get());
    same(true, $cache->add('new', 1, 60));
    same(false, $cache->add('new', 2, 60));

    // The keys of each tag are in a set.
    same(true, $cache->tags(['people', 'authors'])->put('ada', 'Ada', 60));
    same(true, $cache->tags(['people'])->forever('cleo', 'Cleo'));
    same('Ada', $cache->tags(['people', 'authors'])->get('ada'));
    same('Cleo', $cache->tags(['people'])->get('cleo'));
    same(true, $cache->tags(['authors'])->flush());
    same(null, $cache->tags(['people', 'authors'])->get('ada'));
    same('Cleo', $cache->tags(['people'])->get('cleo'));
    same(true, $cache->tags(['people'])->flush());
    same(null, $cache->tags(['people'])->get('cleo'));

    same(true, $cache->clear());
    same(null, $cache->get('many:1'));
}
echo "ok\n";
