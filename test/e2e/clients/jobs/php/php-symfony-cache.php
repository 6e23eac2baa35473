<?php
// Symfony Cache over phpredis and over Predis: pools with a namespace, contracts, tags.
require __DIR__ . '/job.php';
require 'Psr/SimpleCache/autoload.php';
require 'Symfony/Component/Cache/autoload.php';
require 'Predis/autoload.php';

use Symfony\Component\Cache\Adapter\RedisAdapter;
use Symfony\Component\Cache\Adapter\RedisTagAwareAdapter;
use Symfony\Component\Cache\Adapter\TagAwareAdapter;
use Symfony\Component\Cache\Psr16Cache;
use Symfony\Contracts\Cache\ItemInterface;

foreach ([Redis::class, Predis\Client::class] as $class) {
    $connection = RedisAdapter::createConnection("redis://$password@127.0.0.1:$port/1", ['class' => $class]);
    $pool = new RedisAdapter($connection, 'app', 100);
    $worked = 0;
    $work = function (ItemInterface $item) use (&$worked) {
        $item->expiresAfter(50);
        return ['worked' => ++$worked];
    };
    same(['worked' => 1], $pool->get('user', $work));
    same(['worked' => 1], $pool->get('user', $work));
    between(40, 50, $connection->ttl('app:user'));
    same(true, $pool->delete('user'));
    same(['worked' => 2], $pool->get('user', $work));

    foreach (range(0, 49) as $i) {
        same(true, $pool->saveDeferred($pool->getItem("many.$i")->set($i)));
    }
    same(true, $pool->commit());
    $values = [];
    foreach ($pool->getItems(['many.0', 'many.49', 'none']) as $key => $item) {
        $values[$key] = $item->isHit() ? $item->get() : null;
    }
    same(['many.0' => 0, 'many.49' => 49, 'none' => null], $values);
    same(true, $pool->hasItem('many.1'));
    same(true, $pool->deleteItems(['many.1', 'many.2']));
    same(false, $pool->hasItem('many.1'));

    $simple = new Psr16Cache($pool);
    same(true, $simple->setMultiple(['x' => 1, 'y' => [2]], 30));
    same(['x' => 1, 'y' => [2], 'z' => 'no'], $simple->getMultiple(['x', 'y', 'z'], 'no'));

    // Clearing one namespace leaves the other one.
    $other = new RedisAdapter($connection, 'other');
    same(true, $other->save($other->getItem('kept')->set('x')));
    same(true, $pool->clear());
    same([false, true], [$pool->hasItem('many.3'), $other->hasItem('kept')]);

    // Tags: with versions of tags in plain keys.
    $tagged = new TagAwareAdapter($other, $other);
    $tagged->get('post', fn (ItemInterface $item) => $item->tag(['posts', 'ada']) ? 'text' : null);
    same('text', $tagged->getItem('post')->get());
    same(true, $tagged->invalidateTags(['ada']));
    same(false, $tagged->getItem('post')->isHit());
    same(true, (new RedisAdapter($connection))->clear());

    // Tags: with the keys of each tag in a set, which only a script empties.
    $sets = new RedisTagAwareAdapter($connection, 'sets');
    same(true, $sets->save($sets->getItem('post')->set('text')->tag(['posts', 'ada'])));
    same('text', $sets->getItem('post')->get());
    same(['posts', 'ada'], array_keys($sets->getItem('post')->getMetadata()[ItemInterface::METADATA_TAGS]));
    // Its script renames the set of a tag, whose keys do not share a replica set.
    same(false, @$sets->invalidateTags(['ada']));
    same(true, $sets->getItem('post')->isHit());
    same(true, $sets->deleteItem('post'));
    same(false, $sets->getItem('post')->isHit());
    same(true, $sets->save($sets->getItem('post')->set('text')));
    same(true, $sets->clear());
    same(false, $sets->getItem('post')->isHit());
}
echo "ok\n";
