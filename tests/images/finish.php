<?php
// Goes on after its response: asks the client, on the port that it names, and
// once that has answered, asks again, which shows that it was left alone.
header('Content-Type: text/plain');
echo "finished\n";
fastcgi_finish_request();
$upstream = "http://{$_SERVER['REMOTE_ADDR']}:" . (int) $_GET['port'];
file_get_contents($upstream);
file_get_contents($upstream);
