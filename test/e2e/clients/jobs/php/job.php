<?php
// What the PHP jobs share: the port of Rondo and its password, a check, and how they show what a library cannot do there.
error_reporting(E_ALL & ~E_DEPRECATED);
set_error_handler(function (int $level, string $message) {
    if (error_reporting() & $level) {
        throw new ErrorException($message);
    }
});
[, $port, $password] = $argv;

/** Debian's PHP is compiled without assert(). */
function same($expected, $found): void
{
    if ($found !== $expected) {
        throw new Exception(sprintf('expected %s, found %s', var_export($expected, true), var_export($found, true)));
    }
}

function between(int $least, int $most, int $found): void
{
    same(true, $least <= $found && $found <= $most);
}

/** Fails unless $attempt needs a command that Rondo does not have; prints which one, once. */
function lacks(string $what, callable $attempt): void
{
    static $printed = [];
    try {
        $error = $attempt();
    } catch (Throwable $thrown) {
        $error = $thrown->getMessage();
    }
    if (!is_string($error) || !preg_match("/unknown command '(\w+)'/", $error, $found)) {
        throw $thrown ?? new Exception("$what works");
    }
    $line = sprintf("lacks %s: %s\n", $what, strtoupper($found[1]));
    if (!in_array($line, $printed)) {
        echo $printed[] = $line;
    }
}
