<?php
// As slow as an upstream of its own, which is the client itself on the port
// that it names. A sleep() would hide mistakes: php-fpm's SIGQUIT ends it early.
header('Content-Type: text/plain');
$answer = file_get_contents("http://{$_SERVER['REMOTE_ADDR']}:" . (int) $_GET['port']);
if ($answer === false) {
    http_response_code(500);
}
echo $answer;
