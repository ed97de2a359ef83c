<?php
// Goes on working when its client has the whole answer.
echo 'early';
fastcgi_finish_request();
$answer = file_get_contents("http://{$_SERVER['UPSTREAM']}/held?{$_SERVER['QUERY_STRING']}");
file_put_contents("{$_SERVER['RESULTS']}/{$_SERVER['QUERY_STRING']}", $answer);
