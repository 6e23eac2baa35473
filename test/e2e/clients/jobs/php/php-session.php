<?php
// PHP's own sessions, kept by phpredis's handler.
require __DIR__ . '/job.php';

$redis = new Redis();
$redis->connect('127.0.0.1', $port);
$redis->auth($password);
ini_set('session.use_cookies', '0');
ini_set('session.cache_limiter', '');
ini_set('session.gc_maxlifetime', '600');
ini_set('session.save_handler', 'redis');
ini_set('session.save_path', "tcp://127.0.0.1:$port?auth=$password&database=0");
ob_start();
session_start();
$_SESSION['user'] = 'ada';
$id = session_id();
session_write_close();
same(['PHPREDIS_SESSION:' . $id], $redis->keys('*'));
between(590, 600, $redis->ttl("PHPREDIS_SESSION:$id"));

$_SESSION = [];
session_id($id);
session_start();
same('ada', $_SESSION['user']);
session_regenerate_id(true);
same(true, session_id() !== $id);
session_write_close();
same(0, $redis->exists("PHPREDIS_SESSION:$id"));
session_start();
same('ada', $_SESSION['user']);
session_destroy();
same([], $redis->keys('*'));

// It takes its lock without a script, but gives it back with one: the next page waits until the lock expires.
ini_set('redis.session.locking_enabled', '1');
ini_set('redis.session.lock_expire', '60');
session_id('locked');
session_start();
same(1, $redis->exists('PHPREDIS_SESSION:locked_LOCK'));
session_write_close();
same(0, $redis->exists('PHPREDIS_SESSION:locked_LOCK'));
ob_end_flush();
echo "ok\n";
