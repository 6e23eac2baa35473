%% eredis.
-mode(compile).

same(Same, Same) -> ok;
same(Expected, Found) -> error({expected, Expected, found, Found}).

main([Port, Password]) ->
    {ok, Client} = eredis:start_link("127.0.0.1", list_to_integer(Port), 1, Password),
    Ask = fun(Command) -> eredis:q(Client, Command) end,
    same({ok, <<"OK">>}, Ask(["SET", "text", <<"héllo"/utf8>>, "EX", 100])),
    same({ok, <<"héllo"/utf8>>}, Ask(["GET", "text"])),
    {ok, Ttl} = Ask(["TTL", "text"]),
    same(true, lists:member(binary_to_integer(Ttl), lists:seq(90, 100))),
    same({ok, undefined}, Ask(["SET", "text", "other", "NX"])),
    same({ok, <<"OK">>}, Ask(["MSET", "a", 1, "b", 2])),
    same({ok, [<<"1">>, <<"2">>, undefined]}, Ask(["MGET", "a", "b", "none"])),
    Raw = list_to_binary(lists:seq(0, 255)),
    same({ok, <<"OK">>}, Ask(["SET", Raw, Raw])),
    same({ok, Raw}, Ask(["GET", Raw])),
    Counts = eredis:qp(Client, [["INCR", "count"] || _ <- lists:seq(1, 300)]),
    same([{ok, integer_to_binary(I)} || I <- lists:seq(1, 300)], Counts),
    Transaction = [["MULTI"], ["SET", "{t}a", 1], ["INCR", "{t}a"], ["EXEC"]],
    same({ok, [<<"OK">>, <<"2">>]}, lists:last(eredis:qp(Client, Transaction))),
    same({error, <<"ERR value is not an integer or out of range">>}, Ask(["INCR", "text"])),
    same({ok, <<"2">>}, Ask(["HSET", "hash", "name", "Ada", "born", 1815])),
    same({ok, [<<"name">>, <<"Ada">>, <<"born">>, <<"1815">>]}, Ask(["HGETALL", "hash"])),
    same({ok, <<"2">>}, Ask(["SADD", "set", "a", "b", "a"])),
    {ok, Members} = Ask(["SMEMBERS", "set"]),
    same([<<"a">>, <<"b">>], lists:sort(Members)),
    same({ok, <<"3">>}, Ask(["RPUSH", "list", "a", "b", "a"])),
    same({ok, [<<"a">>, <<"b">>, <<"a">>]}, Ask(["LRANGE", "list", 0, -1])),
    same({ok, <<"7">>}, Ask(["EVAL", "return 7", 0])),
    same({ok, <<"OK">>}, Ask(["FLUSHDB"])),
    io:format("ok~n").
