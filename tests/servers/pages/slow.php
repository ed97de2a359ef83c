<?php
// Half of the answer at once, the other half when the upstream has answered.
// Waits by reading: sleep() would return early when the worker gets SIGQUIT.
echo str_repeat('a', 50000);
ob_get_level() && ob_flush();
flush();
$answer = file_get_contents("http://{$_SERVER['UPSTREAM']}/held?{$_SERVER['QUERY_STRING']}");
echo str_repeat('b', 50000), $answer;
