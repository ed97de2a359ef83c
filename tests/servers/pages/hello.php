<?php
echo 'hello from PHP';
